"""Snow, fog and brightness. Source: Hendrycks & Dietterich 2019."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch

from .clean_image import CleanImage
from .linear import magnify, motion_filter, motion_taps, zoomed_part

# mean and scale of the flakes, their zoom, threshold, radius and sigma of their motion blur, and
# the weight of the image's colour
SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
FOG = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))  # density, decay of its wibble
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)


def draw_snow(
    rng: np.random.Generator, clean: CleanImage, severity: int
) -> tuple[np.ndarray, float]:
    """Draw a standard normal field for the magnified center, and the wind angle in degrees."""
    zoom = SNOW[severity - 1][2]
    shape = tuple(zoomed_part(side, zoom)[1] for side in clean.image.shape[:2])
    return rng.standard_normal(shape, dtype=np.float32), rng.uniform(-135, -45)


def snow(clean: CleanImage, severity: int, field: tuple[np.ndarray, float]) -> np.ndarray:
    """Add motion-blurred magnified noise, and its copy rotated by 180°, to a whitened image."""
    mean, scale, zoom, threshold, radius, sigma, colour = SNOW[severity - 1]
    normal, angle = field
    # float64 up to the threshold, as in the reference, since crossing it is visible.
    small = torch.from_numpy(normal.astype(np.float64) * scale + mean)
    magnified = magnify(small[None, None], zoom)[0, 0].numpy()
    flakes = np.where(magnified < threshold, 0, np.clip(magnified, 0, 1)).astype(np.float32)
    taps = motion_taps(radius=radius, sigma=sigma, angle=angle, shape=flakes.shape)
    # The reference rounds the layer to integer grey levels.
    layer = np.rint(motion_filter(flakes, taps) * 255)[: clean.height, : clean.width]
    layer = np.ascontiguousarray(layer + layer[::-1, ::-1])
    bleached = clean.memo.get('bleached')
    if bleached is None:
        grey = cv2.cvtColor(clean.float32, cv2.COLOR_RGB2GRAY)
        white = cv2.merge([grey * 1.5 + 127.5] * 3)
        bleached = clean.memo['bleached'] = cv2.max(clean.float32, white)
    mixed = cv2.addWeighted(clean.float32, colour, bleached, 1 - colour, 0)
    return cv2.addWeighted(mixed, 1, cv2.merge([layer] * 3), 1, -0.499, dtype=cv2.CV_8U)


def draw_fog(rng: np.random.Generator, clean: CleanImage, severity: int) -> np.ndarray:
    """Draw uniform numbers in [-1, 1), one per point of the fractal except the first, float32."""
    points = _map_size(clean) ** 2 - 1
    return rng.random(points, dtype=np.float32) * 2 - 1


def _map_size(clean: CleanImage) -> int:
    return 1 << (max(clean.image.shape) - 1).bit_length()


def fog(clean: CleanImage, severity: int, field: np.ndarray) -> np.ndarray:
    """Add a plasma fractal of haze and rescale to the original maximum."""
    density, decay = FOG[severity - 1]
    haze = plasma_fractal(field, size=_map_size(clean), decay=decay)
    haze = haze[: clean.height, : clean.width]
    brightest = float(clean.largest.max())
    weight = brightest / (brightest + 255 * density)
    haze = np.ascontiguousarray(haze) * np.float32(255 * density * weight)
    return cv2.addWeighted(clean.float32, weight, cv2.merge([haze] * 3), 1, -0.499, dtype=cv2.CV_8U)


def plasma_fractal(uniform: np.ndarray, *, size: int, decay: float) -> np.ndarray:
    """Height map by the diamond-square algorithm on a torus.

    Args:
        uniform: ``size ** 2 - 1`` float32 numbers in [-1, 1], used from coarse to fine: at each
            level the centers of squares, then the two kinds of edge midpoints.
        size: Side of the map, a power of two.
        decay: Divisor of the amplitude at each level.

    Returns:
        float32 ``(size, size)`` in [0, 1].
    """
    heights = np.zeros((size, size), np.float32)
    step, wibble, used = size, 100.0, 0
    while step >= 2:
        half, cells = step // 2, size // step
        # The reference multiplies by the amplitude twice.
        noise = uniform[used : used + 3 * cells**2] * np.float32(wibble * wibble)
        noise = noise.reshape(3, cells, cells)
        used += 3 * cells**2
        corners = heights[::step, ::step]
        below = _next(corners, axis=0)
        square = corners + below
        square += _next(square, axis=1)
        middles = square * np.float32(0.25) + noise[0]
        heights[half::step, half::step] = middles
        on_rows = middles + _previous(middles, axis=0) + corners + _next(corners, axis=1)
        heights[::step, half::step] = on_rows * np.float32(0.25) + noise[1]
        on_columns = middles + _previous(middles, axis=1) + corners + below
        heights[half::step, ::step] = on_columns * np.float32(0.25) + noise[2]
        step = half
        wibble /= decay
    heights -= heights.min()
    heights /= heights.max()
    return heights


def _next(array: np.ndarray, *, axis: int) -> np.ndarray:
    return np.roll(array, -1, axis=axis)


def _previous(array: np.ndarray, *, axis: int) -> np.ndarray:
    return np.roll(array, 1, axis=axis)


def brightness(clean: CleanImage, severity: int) -> np.ndarray:
    """Add a constant to the HSV value.

    Hue and saturation do not change, so red, green and blue scale with the value, by a table over
    value and channel.
    """
    index = clean.memo.get('value_index')
    if index is None:
        value = clean.largest.astype(np.uint16) << 8
        index = clean.memo['value_index'] = cv2.merge([value] * 3) | clean.image
    return _brightness_table(severity).take(index)


@lru_cache(maxsize=len(BRIGHTNESS))
def _brightness_table(severity: int) -> np.ndarray:
    channel, value = np.arange(256) / 255, np.arange(256)[:, None] / 255
    brighter = np.clip(value + BRIGHTNESS[severity - 1], 0, 1)
    saturation_rest = np.divide(channel, value, out=np.ones((256, 256)), where=value > 0)
    out = np.clip(brighter * saturation_rest, 0, 1) * 255
    return np.floor(out + 1e-9).astype(np.uint8).reshape(-1)
