"""Colours and patterns of the backgrounds and shapes of the embedded data set."""

from __future__ import annotations

from colorsys import hsv_to_rgb

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
"""An RGB image, shape ``(H, W, 3)``, values 0 to 255."""


def random_colour(
    rng: np.random.Generator,
    *,
    far_from: npt.ArrayLike | None = None,
    distance: float = 0.0,
) -> Pixels:
    """Draw a colour of any hue and saturation, from dark to light.

    Args:
        rng: Source of every random choice.
        far_from: A colour to differ from, RGB, 0 to 255.
        distance: Least Euclidean distance from it, in grey levels, at most 150: no colour is nearer
            than that to all others.

    Returns:
        RGB, shape ``(3,)``, 0 to 255.
    """
    while True:
        rgb = hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.1, 1))
        colour = 255 * np.asarray(rgb)
        if far_from is None or np.linalg.norm(colour - np.asarray(far_from)) >= distance:
            return colour.astype(np.float32)


def smooth_noise(rng: np.random.Generator, height: int, width: int, *, cells: int) -> Pixels:
    """Clouds: random values on a coarse grid, enlarged; shape ``(H, W)``, values 0 to 1."""
    grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
    return np.clip(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def _ramp(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Phase of a plane wave, rising from 0 to 1 over the image in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = np.cos(angle) * x / width + np.sin(angle) * y / height
    return (phase - phase.min()) / max(float(np.ptp(phase)), 1e-6)


def _pattern(rng: np.random.Generator, height: int, width: int, kind: str) -> Pixels:
    """Weight of the second colour, shape ``(H, W)``, values 0 to 1."""
    if kind == 'plain':
        return np.zeros((height, width), dtype=np.float32)
    if kind == 'gradient':
        return _ramp(rng, height, width)
    if kind == 'clouds':
        return smooth_noise(rng, height, width, cells=int(rng.integers(2, 9)))
    if kind == 'stripes':
        period = rng.uniform(5, 16) / max(height, width)
        return 0.5 + 0.5 * np.sin(2 * np.pi * _ramp(rng, height, width) / period)
    if kind == 'checks':
        size = int(rng.integers(4, 12))
        y, x = np.mgrid[0:height, 0:width]
        return ((x // size + y // size) % 2).astype(np.float32)
    raise ValueError(f'unknown pattern {kind!r}')


def fill(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    kinds: tuple[str, ...],
    colour: Pixels,
    contrast: float,
) -> Pixels:
    """Draw a textured rectangle.

    Args:
        rng: Source of every random choice.
        height, width: Size in pixels.
        kinds: Patterns to choose from: plain, gradient, clouds, stripes, checks.
        colour: First colour, RGB, 0 to 255.
        contrast: Greatest distance of the second colour from the first, in grey levels per channel.

    Returns:
        RGB image, shape ``(height, width, 3)``.
    """
    kind = kinds[int(rng.integers(len(kinds)))]
    second = np.clip(colour + rng.uniform(-contrast, contrast, 3), 0, 255).astype(np.float32)
    weight = _pattern(rng, height, width, kind)[..., None]
    return (colour + weight * (second - colour)).astype(np.float32)
