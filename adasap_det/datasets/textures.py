"""Colours and patterns of the backgrounds and shapes of the embedded data set."""

from __future__ import annotations

from colorsys import hsv_to_rgb

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
"""An RGB image, shape ``(H, W, 3)``, values 0 to 255."""


def muted_colour(rng: np.random.Generator) -> Pixels:
    """Draw a greyish colour of medium brightness: RGB, shape ``(3,)``."""
    return (rng.uniform(60, 195) + rng.uniform(-25, 25, 3)).astype(np.float32)


def vivid_colour(
    rng: np.random.Generator,
    *,
    far_from: npt.ArrayLike,
    distance: float = 90.0,
    hue: float | None = None,
) -> Pixels:
    """Draw a saturated colour at least ``distance`` from another.

    Args:
        rng: Source of every random choice.
        far_from: The other colour, RGB, 0 to 255.
        distance: Euclidean distance in grey levels.
        hue: Hue in degrees that four of five colours are near to; None for any hue.

    Returns:
        RGB, shape ``(3,)``, 0 to 255.
    """
    avoid = np.asarray(far_from, dtype=np.float64)
    # No colour is near all saturated colours, so the loop ends soon.
    while True:
        degrees = rng.uniform(0, 360)
        if hue is not None and rng.random() < 0.8:
            degrees = rng.normal(hue, 18)
        rgb = hsv_to_rgb(degrees / 360 % 1, rng.uniform(0.7, 1), rng.uniform(0.65, 1))
        colour = 255 * np.asarray(rgb)
        if np.linalg.norm(colour - avoid) >= distance:
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
