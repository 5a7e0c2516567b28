"""Corrupt an image by the name of the corruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from . import blur, digital, frost, glass, imagenet_c, noise, spatter, weather
from .clean_image import CleanImage, as_rgb
from .names import check_corruptions, check_severities
from .seeds import corruption_seed, generator

#: Increased whenever a byte of any result changes.
CORRUPTIONS_VERSION = '1'

Draw = Callable[[np.random.Generator, CleanImage, int], Any]

#: Per corruption: the function that draws its random field, if any, and the one that applies it.
FUNCTIONS: dict[str, tuple[Draw | None, Callable[..., np.ndarray]]] = {
    'gaussian_noise': (noise.draw_bits, noise.gaussian_noise),
    'shot_noise': (noise.draw_bits, noise.shot_noise),
    'impulse_noise': (noise.draw_bits, noise.impulse_noise),
    'defocus_blur': (None, blur.defocus_blur),
    'glass_blur': (glass.draw_offsets, glass.glass_blur),
    'motion_blur': (blur.draw_angle, blur.motion_blur),
    'zoom_blur': (None, blur.zoom_blur),
    'snow': (weather.draw_snow, weather.snow),
    'frost': (frost.draw_frost, frost.frost),
    'fog': (weather.draw_fog, weather.fog),
    'brightness': (None, weather.brightness),
    'contrast': (None, digital.contrast),
    'elastic_transform': (digital.draw_elastic, digital.elastic_transform),
    'pixelate': (None, digital.pixelate),
    'jpeg_compression': (None, digital.jpeg_compression),
    'speckle_noise': (noise.draw_normal, noise.speckle_noise),
    'gaussian_blur': (None, blur.gaussian_blur),
    'spatter': (spatter.draw_spatter, spatter.spatter),
    'saturate': (None, digital.saturate),
}


#: What ImageNet-C does otherwise.
IMAGENET_C_FUNCTIONS = FUNCTIONS | {
    'frost': (imagenet_c.draw_frost, imagenet_c.frost),
    'elastic_transform': (imagenet_c.draw_elastic, imagenet_c.elastic_transform),
}


def corrupt(
    image: np.ndarray, *, corruption: str, severity: int, image_id: str, seed: int = 0
) -> np.ndarray:
    """Corrupt an image; the same arguments give the same bytes.

    This holds for one CPU architecture and fixed library versions. On others some values differ by
    one grey level, since OpenCV and PyTorch select code by the available instructions.

    Args:
        image: uint8, ``(H, W, 3)`` RGB, ``(H, W)`` grey or ``(H, W, 4)`` RGBA, whose alpha is
            dropped; at least 32 pixels a side.
        corruption: One of ``CORRUPTIONS``.
        severity: 1 to 5.
        image_id: Name of the image within its data set; with ``corruption``, ``severity`` and
            ``seed`` it determines the random field.
        seed: Seed of the benchmark.

    Returns:
        uint8 RGB ``(H, W, 3)``.

    Raises:
        ValueError: If the corruption or severity is unknown, or the image is invalid.
        FileNotFoundError: If the frost photographs are missing.

    Source: Michaelis et al. 2019 (arXiv 1907.07484), as in the imagecorruptions package.
    """
    corrupted = corrupt_severities(
        image, corruption=corruption, severities=(severity,), image_id=image_id, seed=seed
    )
    return corrupted[severity]


def corrupt_severities(
    image: np.ndarray,
    *,
    corruption: str,
    severities: Iterable[int],
    image_id: str,
    seed: int = 0,
    like_imagenet_c: bool = False,
) -> dict[int, np.ndarray]:
    """Same as :func:`corrupt` for several severities, with common work done once.

    Args:
        image, corruption, image_id, seed: Same as in :func:`corrupt`.
        severities: Several of 1 to 5.
        like_imagenet_c: Use the elastic transform and the frost of ImageNet-C, which are defined
            on crops of 224 pixels.

    Returns:
        Corrupted image by severity.

    Raises:
        ValueError: Same as :func:`corrupt`, or if the image is not such a crop.
    """
    if corruption not in FUNCTIONS:
        check_corruptions([corruption])  # its message lists the known names
        raise ValueError(f'{corruption!r} is a set of corruptions; pass a single corruption')
    clean = CleanImage(as_rgb(image))
    draw, apply = (IMAGENET_C_FUNCTIONS if like_imagenet_c else FUNCTIONS)[corruption]
    if like_imagenet_c and clean.image.shape[:2] != (imagenet_c.SIDE, imagenet_c.SIDE):
        raise ValueError(
            f'the image has {clean.width} x {clean.height} pixels, but ImageNet-C is defined on '
            f'{imagenet_c.SIDE} x {imagenet_c.SIDE}; crop it first'
        )
    found = {}
    for severity in check_severities(severities):
        if draw is None:
            found[severity] = apply(clean, severity)
            continue
        number = corruption_seed(
            image_id=image_id, corruption=corruption, severity=severity, seed=seed
        )
        found[severity] = apply(clean, severity, draw(generator(number), clean, severity))
    return found
