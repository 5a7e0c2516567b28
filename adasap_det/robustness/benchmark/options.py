"""Options that determine the bytes of a benchmark, apart from its source."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cv2

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.image_codec import MIN_SIDE
from adasap_det.robustness.corruptions import (
    CORRUPTIONS_VERSION,
    check_corruptions,
    check_severities,
)

FORMATS = ('jpg', 'png')
SUBSAMPLINGS = ('4:2:0', '4:2:2', '4:4:4')
#: How ImageNet-C is stored; Pillow's default subsampling is 4:2:0.
IMAGENET_C: dict[str, Any] = {'format': 'jpg', 'quality': 85, 'subsampling': '4:2:0', 'crop': 224}


@dataclass(frozen=True)
class Options:
    """How images are corrupted and stored; created by :func:`make_options`.

    Attributes:
        corruptions: Names, in the benchmark's order.
        severities: Ascending, from 1 to 5.
        format: ``'jpg'`` or ``'png'``, also the suffix of the images. In the VOC layout the suffix
            is always ``.jpg``, which its loaders expect; they decode by content.
        quality: JPEG quality, 1 to 100; None for PNG.
        subsampling: Chroma subsampling of JPEG, such as ``'4:2:0'``; None for PNG.
        seed: Seed of the corruptions and of the choice of a subset.
        crop: Side of the centre crop that is corrupted; None for full images.
        imagenet_c: Whether images are corrupted and stored as in ImageNet-C.
    """

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    format: str
    quality: int | None
    subsampling: str | None
    seed: int
    crop: int | None = None
    imagenet_c: bool = False

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """All pairs of corruption and severity."""
        return tuple((name, level) for name in self.corruptions for level in self.severities)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as stored in the manifest."""
        data = asdict(self)
        # As in benchmarks from before these options.
        if self.crop is None:
            del data['crop']
        if not self.imagenet_c:
            del data['imagenet_c']
        return {**data, 'corruptions': [*self.corruptions], 'severities': [*self.severities]}


def make_options(
    *,
    corruptions: Iterable[str] = ('benchmark',),
    severities: Iterable[int] = (1, 2, 3, 4, 5),
    format: str = 'jpg',
    quality: int = 95,
    subsampling: str = '4:2:0',
    seed: int = 0,
    crop: int | None = None,
    imagenet_c: bool = False,
) -> Options:
    """Return validated options; see :class:`Options`.

    Raises:
        BenchmarkError: If a value is unknown or out of range, or differs from that of ImageNet-C
            with ``imagenet_c``.
    """
    stored = {'format': format, 'quality': quality, 'subsampling': subsampling, 'crop': crop}
    for name, value in IMAGENET_C.items():
        if imagenet_c and stored[name] != value:
            raise BenchmarkError(
                f'--layout imagenet-c stores images with {name} {value}, not {stored[name]}; leave '
                f'out --{name}'
            )
    try:
        names, levels = check_corruptions(corruptions), check_severities(severities)
    except ValueError as error:
        raise BenchmarkError(str(error)) from None
    if not names or not levels:
        raise BenchmarkError('give at least one corruption and one severity')
    if format not in FORMATS:
        raise BenchmarkError(f'format {format!r} is not one of {", ".join(FORMATS)}')
    if not 1 <= quality <= 100:
        raise BenchmarkError(f'quality is {quality}; give 1 to 100')
    if subsampling not in SUBSAMPLINGS:
        raise BenchmarkError(f'subsampling {subsampling!r} is not one of {", ".join(SUBSAMPLINGS)}')
    if seed < 0:
        raise BenchmarkError(f'seed is {seed}; give 0 or more')
    if crop is not None and crop < MIN_SIDE:
        raise BenchmarkError(f'crop is {crop}; the corruptions need {MIN_SIDE} pixels per side')
    jpeg = format == 'jpg'
    return Options(
        corruptions=names,
        severities=levels,
        format=format,
        quality=quality if jpeg else None,
        subsampling=subsampling if jpeg else None,
        seed=seed,
        crop=crop,
        imagenet_c=imagenet_c,
    )


def software() -> dict[str, str]:
    """Return the versions that the bytes of an image depend on, and the kind of processor.

    They must be equal on all machines of a build.
    """
    found = {'corruptions': CORRUPTIONS_VERSION, 'opencv': cv2.__version__}
    for name in ('numpy', 'scipy', 'Pillow', 'torch'):
        try:
            # The part after the plus names the GPU library, but the corruptions run on the CPU.
            found[name.lower()] = version(name).partition('+')[0]
        except PackageNotFoundError:
            found[name.lower()] = 'unknown'
    found['processor'] = platform.machine() or 'unknown'
    return found
