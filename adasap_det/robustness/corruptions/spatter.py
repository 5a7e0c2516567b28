"""Spatter: drops of water or mud on the lens. Source: Hendrycks & Dietterich 2019."""

from __future__ import annotations

import cv2
import numpy as np

from .clean_image import CleanImage, to_uint8
from .linear import gaussian_filter

# mean, scale and sigma of the liquid, threshold, strength or sigma of its edge, whether it is mud
SPATTER = (
    (0.65, 0.3, 4, 0.69, 0.6, False),
    (0.65, 0.3, 3, 0.68, 0.6, False),
    (0.65, 0.3, 2, 0.68, 0.5, False),
    (0.65, 0.3, 1, 0.65, 1.5, True),
    (0.67, 0.4, 1, 0.65, 1.5, True),
)
WATER = (175, 238, 238)
MUD = (63, 42, 20)
_EDGES = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def draw_spatter(rng: np.random.Generator, clean: CleanImage, severity: int) -> np.ndarray:
    """Draw a standard normal field, float32 ``(H, W)``."""
    return rng.standard_normal(clean.image.shape[:2], dtype=np.float32)


def spatter(clean: CleanImage, severity: int, field: np.ndarray) -> np.ndarray:
    """Cover the image with liquid where smoothed noise exceeds a threshold."""
    mean, scale, sigma, threshold, strength, mud = SPATTER[severity - 1]
    # float64 up to the thresholds, as in the reference, since crossing one is visible.
    liquid = gaussian_filter(field.astype(np.float64) * scale + mean, sigma)
    liquid = np.where(liquid < threshold, 0, liquid)
    if mud:
        cover = gaussian_filter((liquid > threshold).astype(np.float64), strength)
        cover = np.where(cover < 0.8, 0, cover).astype(np.float32)
        planes = [
            to_uint8(plane * (1 - cover) + cover * np.float32(color))
            for plane, color in zip(clean.planes, MUD, strict=True)
        ]
    else:
        cover = _water(liquid, strength)
        planes = [
            to_uint8(plane + cover * np.float32(color))
            for plane, color in zip(clean.planes, WATER, strict=True)
        ]
    return cv2.merge(planes)


def _water(liquid: np.ndarray, strength: float) -> np.ndarray:
    """Brightness of the drops, higher at their edges, float32 ``(H, W)`` up to ``strength``."""
    drops = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    _, distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)
    distance = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    distance = cv2.filter2D(distance, cv2.CV_8U, _EDGES)
    cover = drops * cv2.blur(distance, (3, 3)).astype(np.float32)
    largest = cover.max()
    # Without drops the reference divides zero by zero.
    return cover * np.float32(strength / largest) if largest > 0 else cover
