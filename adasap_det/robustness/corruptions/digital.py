"""Contrast, elastic transform, pixelation, JPEG and saturation. Source: Hendrycks & Dietterich."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from .clean_image import CleanImage, from_planes
from .linear import gaussian_filter

CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
ELASTIC = (250 * 0.05, 250 * 0.065, 250 * 0.085, 250 * 0.1, 250 * 0.12)
PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
JPEG_QUALITY = (25, 18, 15, 10, 7)
SATURATE = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))  # factor, offset of the saturation


def contrast(clean: CleanImage, severity: int) -> np.ndarray:
    """Pull each channel towards its mean."""
    factor = CONTRAST[severity - 1]
    means = np.asarray(cv2.mean(clean.image))[:3]
    table = (np.arange(256)[:, None] - means) * factor + means
    table = np.floor(np.clip(table, 0, 255) + 1e-9).astype(np.uint8)
    return cv2.LUT(clean.image, table.reshape(256, 1, 3))


def draw_elastic(rng: np.random.Generator, clean: CleanImage, severity: int) -> np.ndarray:
    """Draw uniform numbers in [-1, 1), float32 ``(2, H, W)``: column shifts, then row shifts."""
    return rng.random((2, clean.height, clean.width), dtype=np.float32) * 2 - 1


def elastic_transform(clean: CleanImage, severity: int, field: np.ndarray) -> np.ndarray:
    """Move pixels by a smooth random field, with bilinear interpolation."""
    height, width = clean.height, clean.width
    alpha = ELASTIC[severity - 1]
    sigma = (height * 0.01, width * 0.01)
    # The reference uses the height for both axes.
    reach = np.float32(height * 0.005 * alpha)
    moved_x, moved_y = (
        gaussian_filter(part * reach, sigma, truncate=3, border=cv2.BORDER_REFLECT)
        for part in field
    )
    return displace(clean.torch_planes, moved_x, moved_y)


def displace(planes: torch.Tensor, moved_x: np.ndarray, moved_y: np.ndarray) -> np.ndarray:
    """Sample an image at shifted pixels, with bilinear interpolation and mirrored borders.

    Args:
        planes: Values of 0 to 255 in float32, ``(1, 3, H, W)``.
        moved_x, moved_y: Shifts in pixels, ``(H, W)``.

    Returns:
        uint8 ``(H, W, 3)``.
    """
    height, width = planes.shape[2:]
    # PyTorch coordinates: -1 and 1 are the outer edges of the first and last pixel.
    grid = np.empty((height, width, 2), np.float32)
    columns = (2 * np.arange(width, dtype=np.float32) + 1) / width - 1
    rows = (2 * np.arange(height, dtype=np.float32) + 1) / height - 1
    grid[..., 0] = moved_x * np.float32(2 / width) + columns
    grid[..., 1] = moved_y * np.float32(2 / height) + rows[:, None]
    moved = functional.grid_sample(
        planes,
        torch.from_numpy(grid)[None],
        mode='bilinear',
        padding_mode='reflection',
        align_corners=False,
    )
    return from_planes(moved[0].numpy())


def pixelate(clean: CleanImage, severity: int) -> np.ndarray:
    """Downscale with a box filter, then upscale without interpolation."""
    factor = PIXELATE[severity - 1]
    height, width = clean.height, clean.width
    small = _pil(clean).resize((int(width * factor), int(height * factor)), Image.Resampling.BOX)
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(clean: CleanImage, severity: int) -> np.ndarray:
    """Encode and decode as JPEG with Pillow, as in the reference."""
    stream = BytesIO()
    _pil(clean).save(stream, 'JPEG', quality=JPEG_QUALITY[severity - 1])
    return np.array(Image.open(stream))


def _pil(clean: CleanImage) -> Image.Image:
    if 'pil' not in clean.memo:
        clean.memo['pil'] = Image.fromarray(clean.image)
    return clean.memo['pil']


def saturate(clean: CleanImage, severity: int) -> np.ndarray:
    """Scale and shift the HSV saturation.

    Value and hue do not change, so a channel's distance from the largest one scales with the
    saturation, by a table over the largest and smallest channel. Grey has hue 0, so it turns
    reddish where the saturation is shifted.
    """
    _, offset = SATURATE[severity - 1]
    largest, smallest = clean.largest, clean.smallest
    index = (largest.astype(np.uint16) << 8) | smallest
    scale = _saturation_scale(severity).take(index)
    largest32 = largest.astype(np.float32)
    planes = [largest32 - (largest32 - plane) * scale for plane in clean.planes]
    if offset:
        grey = largest == smallest
        for plane in planes[1:]:
            np.copyto(plane, largest32 * np.float32(1 - offset), where=grey)
    return from_planes(planes)


@lru_cache(maxsize=len(SATURATE))
def _saturation_scale(severity: int) -> np.ndarray:
    """Ratio of new to old saturation, float32, indexed by ``256 * largest + smallest``."""
    factor, offset = SATURATE[severity - 1]
    largest, smallest = np.arange(256)[:, None] / 255, np.arange(256) / 255
    span = np.clip(largest - smallest, 0, None)
    old = np.divide(span, largest, out=np.zeros((256, 256)), where=largest > 0)
    new = np.clip(old * factor + offset, 0, 1)
    scale = np.divide(new, old, out=np.ones((256, 256)), where=old > 0)
    return scale.astype(np.float32).reshape(-1)
