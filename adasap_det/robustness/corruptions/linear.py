"""Linear filters and interpolation used by several corruptions."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch.nn import functional


def gaussian_kernel(sigma: float, *, truncate: float = 4.0) -> np.ndarray:
    """SciPy's sampled Gaussian of radius ``int(truncate * sigma + 0.5)``, float64."""
    radius = int(truncate * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return kernel / kernel.sum()


def gaussian_filter(
    image: np.ndarray,
    sigma: float | tuple[float, float],
    *,
    truncate: float = 4.0,
    border: int = cv2.BORDER_REPLICATE,
) -> np.ndarray:
    """Same as SciPy's ``gaussian_filter`` for a float32 or float64 image, with OpenCV.

    Args:
        image: ``(H, W)`` or ``(H, W, 3)``.
        sigma: For both axes, or for rows and columns, in pixels.
        truncate: Radius of the kernel in sigmas.
        border: OpenCV equivalent of SciPy's ``mode``: ``BORDER_REPLICATE`` is ``'nearest'``,
            ``BORDER_REFLECT`` is ``'reflect'``.
    """
    rows, columns = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    return cv2.sepFilter2D(
        image,
        cv2.CV_64F if image.dtype == np.float64 else cv2.CV_32F,
        gaussian_kernel(columns, truncate=truncate),
        gaussian_kernel(rows, truncate=truncate),
        borderType=border,
    )


def zoomed_part(size: int, factor: float) -> tuple[int, int]:
    """Return start and length of the rows (or columns) that the reference's zoom magnifies."""
    part = math.ceil(size / float(factor))
    return (size - part) // 2, part


def magnify(planes: torch.Tensor, factor: float) -> torch.Tensor:
    """Bilinear magnification with aligned corners, as ``scipy.ndimage.zoom(order=1)``.

    As in SciPy and the reference, the last row (column) stays black where rounding places it just
    outside the image, for example for 128 columns magnified 2.5 times.

    Args:
        planes: Floating point ``(1, C, H, W)``.
        factor: At least 1.

    Returns:
        ``(1, C, round(H * factor), round(W * factor))``, of the same dtype.
    """
    rows, columns = (round(side * factor) for side in planes.shape[2:])
    result = functional.interpolate(
        planes, size=(rows, columns), mode='bilinear', align_corners=True
    )
    if _ends_outside(planes.shape[2], rows):
        result[:, :, -1] = 0
    if _ends_outside(planes.shape[3], columns):
        result[..., -1] = 0
    return result


def _ends_outside(size: int, magnified: int) -> bool:
    """Whether SciPy's last sampling point lies beyond the last pixel due to rounding."""
    return (magnified - 1) * ((size - 1) / (magnified - 1)) > size - 1


def motion_taps(
    *, radius: int, sigma: float, angle: float, shape: tuple[int, ...]
) -> list[tuple[int, int, float]]:
    """Return shifts and weights of the reference's motion blur; weights below 1e-6 are omitted.

    Args:
        radius: In pixels; the kernel is ``2 * radius + 1`` long and starts at the pixel itself.
        sigma: Sigma of the one-sided Gaussian along the kernel, in pixels.
        angle: In degrees.
        shape: Shape of the image; shifts of its full size or more end the kernel.

    Returns:
        ``(dx, dy, weight)`` of each tap.
    """
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    y, x = width * np.sin(np.deg2rad(angle)), width * np.cos(np.deg2rad(angle))
    length = math.hypot(y, x)
    taps = []
    for step, weight in enumerate(weights.tolist()):
        dy = -math.ceil(step * y / length - 0.5)
        dx = -math.ceil(step * x / length - 0.5)
        if abs(dy) >= shape[0] or abs(dx) >= shape[1]:
            break
        if weight >= 1e-6:
            taps.append((dx, dy, weight))
    return taps


def motion_filter(image: np.ndarray, taps: list[tuple[int, int, float]]) -> np.ndarray:
    """Weighted sum of shifted copies of a float32 image with replicated borders."""
    height, width = image.shape[:2]
    reach_x = max(abs(dx) for dx, _, _ in taps)
    reach_y = max(abs(dy) for _, dy, _ in taps)
    padded = cv2.copyMakeBorder(
        image, reach_y, reach_y, reach_x, reach_x, borderType=cv2.BORDER_REPLICATE
    )
    total = np.zeros_like(image)
    for dx, dy, weight in taps:
        top, left = reach_y - dy, reach_x - dx
        shifted = padded[top : top + height, left : left + width]
        cv2.scaleAdd(shifted, weight, total, dst=total)
    return total
