"""Example images, downscaled and embedded into the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from adasap_det.robustness.corruptions.names import CORRUPTIONS
from adasap_det.robustness.report.comparison import Comparison
from adasap_det.robustness.report.text import corruption_name

#: Size limit of all JPEG images together, in bytes; base64 adds a third.
BUDGET = 6_000_000
# Longer side in pixels and JPEG quality, tried in this order until the images fit.
_SIZES = ((480, 82), (400, 80), (320, 78), (240, 72), (160, 65))
# At the middle severity the corruption is visible without dominating the image.
_SEVERITY = 3


@dataclass(frozen=True)
class EmbeddedImage:
    """One image.

    Attributes:
        model: Index of the model whose predictions are drawn on it.
        uri: Data URI of a JPEG; empty where the file cannot be read.
        width, height: In pixels.
        problem: Why it cannot be shown; otherwise empty.
    """

    model: int
    uri: Markup
    width: int
    height: int
    problem: str = ''


@dataclass(frozen=True)
class ImageRow:
    """The same image under one corruption, with the predictions of each model."""

    label: str
    severity: int
    image_id: str
    images: tuple[EmbeddedImage, ...]


def image_rows(comparison: Comparison, *, budget: int = BUDGET) -> list[ImageRow]:
    """Return one row for clean images and for each corruption with images of any model.

    Among several severities and images, the one that most models have is chosen, then the severity
    closest to 3.

    Args:
        comparison: The models.
        budget: Size limit of all images together, in bytes; they are downscaled to fit.

    Raises:
        ValueError: If a listed file is outside the image folder.
    """
    chosen = [
        row for c in (None, *_named(comparison)) if (row := _choose(comparison, c)) is not None
    ]
    paths = [path for _, _, _, files in chosen for _, path in files]
    encoded = _encode(paths, budget)
    return [
        ImageRow(
            label='Clean' if corruption is None else corruption_name(corruption),
            severity=severity,
            image_id=image_id,
            images=tuple(_embedded(model, path, encoded[path]) for model, path in files),
        )
        for corruption, severity, image_id, files in chosen
    ]


def _named(comparison: Comparison) -> Iterable[str]:
    seen = {image.corruption for r in comparison.results for image in r.images}
    return [name for name in CORRUPTIONS if name in seen]


def _choose(
    comparison: Comparison, corruption: str | None
) -> tuple[str | None, int, str, list[tuple[int, Path]]] | None:
    candidates: dict[tuple[int, str], dict[int, Path]] = {}
    for model, r in enumerate(comparison.results):
        for image in r.images:
            if image.corruption == corruption:
                if Path(image.file).name != image.file:
                    raise ValueError(
                        f'{r.folder}/images/images.json lists {image.file!r}; only names of files '
                        'in the same folder are allowed'
                    )
                files = candidates.setdefault((image.severity, image.image_id), {})
                files.setdefault(model, r.folder / 'images' / image.file)
    if not candidates:
        return None
    severity, image_id = min(
        candidates, key=lambda key: (-len(candidates[key]), abs(key[0] - _SEVERITY), key)
    )
    return corruption, severity, image_id, sorted(candidates[severity, image_id].items())


def _encode(paths: list[Path], budget: int) -> dict[Path, tuple[bytes, int, int] | str]:
    """Return JPEG data, width and height of each file, or why it cannot be read."""
    found: dict[Path, tuple[bytes, int, int] | str] = {}
    for side, quality in _SIZES:
        found = {path: _jpeg(path, side, quality) for path in paths}
        if sum(len(item[0]) for item in found.values() if not isinstance(item, str)) <= budget:
            break
    return found


def _jpeg(path: Path, side: int, quality: int) -> tuple[bytes, int, int] | str:
    try:
        with Image.open(path) as file:
            image = file.convert('RGB')
    except FileNotFoundError:
        return f'{path.name} is missing'
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return f'{path.name} cannot be read'
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=quality, optimize=True)
    return buffer.getvalue(), image.width, image.height


def _embedded(model: int, path: Path, item: tuple[bytes, int, int] | str) -> EmbeddedImage:
    if isinstance(item, str):
        return EmbeddedImage(model, Markup(), 0, 0, problem=item)
    data, width, height = item
    uri = Markup('data:image/jpeg;base64,' + base64.b64encode(data).decode('ascii'))
    return EmbeddedImage(model, uri, width, height)
