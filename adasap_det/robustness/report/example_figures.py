"""Example images with detections, small enough to stand inside the page."""

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

#: What all images together may take as JPEG, in bytes; base64 makes it a third more.
BUDGET = 6_000_000
# Longer side in pixels and quality of JPEG, tried in turn until the images fit.
_SIZES = ((480, 82), (400, 80), (320, 78), (240, 72), (160, 65))
# The middle severity shows a corruption best: seen, and not yet all there is to see.
_SEVERITY = 3


@dataclass(frozen=True)
class Shown:
    """One image.

    Attributes:
        model: Index of the model whose detections it shows.
        uri: Data URI of a JPEG; empty where the file cannot be read.
        width, height: In pixels.
        problem: Why it cannot be shown, else empty.
    """

    model: int
    uri: Markup
    width: int
    height: int
    problem: str = ''


@dataclass(frozen=True)
class ImageRow:
    """The same image under one corruption, as each model sees it."""

    label: str
    severity: int
    image_id: str
    images: tuple[Shown, ...]


def image_rows(comparison: Comparison, *, budget: int = BUDGET) -> list[ImageRow]:
    """One row for clean images and for each corruption that some model has images of.

    Of several severities and images that is taken which most models have, then the severity
    nearest to 3.

    Args:
        comparison: The models.
        budget: Bytes that all images together may take; they shrink until they do.

    Raises:
        ValueError: If a listed file lies outside the folder of images.
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
            images=tuple(_shown(model, path, encoded[path]) for model, path in files),
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
                        f'{r.folder}/images/images.json lists {image.file!r}, which is not '
                        'the plain name of a file beside it'
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
    """JPEG, width and height of each file, or what is wrong with it."""
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


def _shown(model: int, path: Path, item: tuple[bytes, int, int] | str) -> Shown:
    if isinstance(item, str):
        return Shown(model, Markup(), 0, 0, problem=item)
    data, width, height = item
    uri = Markup('data:image/jpeg;base64,' + base64.b64encode(data).decode('ascii'))
    return Shown(model, uri, width, height)
