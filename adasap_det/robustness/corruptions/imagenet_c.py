"""What ImageNet-C does otherwise on its crops of 224 pixels: elastic transform and frost.

Source: Hendrycks & Dietterich 2019, ``imagenet_c/corruptions.py`` of
github.com/hendrycks/robustness.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .clean_image import CleanImage
from .digital import displace
from .frost import blend_ice, load_ice
from .linear import gaussian_filter

SIDE = 224
# Reach and sigma of the displacement, and shift of the corners of an affine map, in pixels. 244 is
# the source's.
ELASTIC = (
    (244 * 2, 244 * 0.7, 244 * 0.1),
    (244 * 2, 244 * 0.08, 244 * 0.2),
    (244 * 0.05, 244 * 0.01, 244 * 0.02),
    (244 * 0.07, 244 * 0.01, 244 * 0.02),
    (244 * 0.12, 244 * 0.01, 244 * 0.02),
)
# The source lists six photographs and draws among the first five.
PHOTOGRAPHS = 5

ElasticField = tuple[np.ndarray, np.ndarray]


def draw_elastic(rng: np.random.Generator, clean: CleanImage, severity: int) -> ElasticField:
    """Draw uniform numbers in [-1, 1): shifts of three corners ``(3, 2)``, column and row shifts of
    the pixels ``(2, H, W)``, float32."""
    corners = rng.random((3, 2), dtype=np.float32) * 2 - 1
    return corners, rng.random((2, clean.height, clean.width), dtype=np.float32) * 2 - 1


def elastic_transform(clean: CleanImage, severity: int, field: ElasticField) -> np.ndarray:
    """Map the image by a random affine map, then move pixels by a smooth random field."""
    corners, shifts = field
    reach, sigma, shift = ELASTIC[severity - 1]
    size = (clean.height, clean.width)
    directions = np.array([[1, 1], [1, -1], [-1, -1]])
    square = (np.array(size) // 2 + min(size) // 3 * directions).astype(np.float32)
    affine = cv2.getAffineTransform(square, square + np.float32(shift) * corners)
    image = cv2.warpAffine(
        clean.float32, affine, (clean.width, clean.height), borderMode=cv2.BORDER_REFLECT_101
    )
    moved_x, moved_y = (
        gaussian_filter(part.astype(np.float64), sigma, truncate=3, border=cv2.BORDER_REFLECT)
        * reach
        for part in shifts
    )
    planes = torch.from_numpy(np.stack(cv2.split(image)))[None]
    return displace(planes, moved_x, moved_y)


def draw_frost(rng: np.random.Generator, clean: CleanImage, severity: int) -> tuple[int, int, int]:
    """Draw the index of a photograph, and the top and left of the crop."""
    index = int(rng.integers(PHOTOGRAPHS))
    height, width = load_ice(index).shape[:2]
    top = int(rng.integers(0, height - clean.height))
    return index, top, int(rng.integers(0, width - clean.width))


def frost(clean: CleanImage, severity: int, field: tuple[int, int, int]) -> np.ndarray:
    """Weighted sum of the image and a crop of a photograph of ice in its own size."""
    index, top, left = field
    return blend_ice(clean, severity, load_ice(index)[top:, left:])
