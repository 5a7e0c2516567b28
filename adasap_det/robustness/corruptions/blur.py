"""Defocus, motion, zoom and Gaussian blur. Source: Hendrycks & Dietterich 2019."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch

from .clean_image import CleanImage, from_planes, to_uint8
from .linear import gaussian_filter, magnify, motion_filter, motion_taps, zoomed_part

GAUSSIAN_SIGMA = (1, 2, 3, 4, 6)
DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius, sigma of its edge
MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))  # radius, sigma
ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # end, step


# Largest image, in values, whose 27 magnified float32 layers are cached: 0.4 GB.
_SHARED_ZOOM_SIZE = 4_000_000


def gaussian_blur(clean: CleanImage, severity: int) -> np.ndarray:
    """Isotropic Gaussian blur with replicated borders."""
    return to_uint8(gaussian_filter(clean.float32, GAUSSIAN_SIGMA[severity - 1]))


def defocus_blur(clean: CleanImage, severity: int) -> np.ndarray:
    """Disk blur with a softened edge and reflected borders, by the Fourier transform."""
    spectra = clean.memo.get('defocus')
    reach = max(radius for radius, _ in DEFOCUS)
    if spectra is None:
        # Twice the reach on the far sides, since the transform wraps around.
        size = [cv2.getOptimalDFTSize(side + 2 * reach) for side in clean.image.shape[:2]]
        framed = cv2.copyMakeBorder(
            clean.image, reach, reach, reach, reach, borderType=cv2.BORDER_REFLECT_101
        ).astype(np.float32)
        spectra = clean.memo['defocus'] = [_spectrum(plane, size) for plane in cv2.split(framed)]
    kernel = _spectrum(_disk(*DEFOCUS[severity - 1]), list(spectra[0].shape))
    # The product of spectra is a convolution; a disk is symmetric, so flipping does not matter.
    start = reach + len(_disk(*DEFOCUS[severity - 1])) // 2
    planes = []
    for spectrum in spectra:
        product = cv2.mulSpectrums(spectrum, kernel, 0)
        blurred = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
        planes.append(blurred[start : start + clean.height, start : start + clean.width])
    return from_planes(planes)


def _spectrum(plane: np.ndarray, size: list[int]) -> np.ndarray:
    padded = np.zeros(size, np.float32)
    padded[: plane.shape[0], : plane.shape[1]] = plane
    return cv2.dft(padded, nonzeroRows=plane.shape[0])


@lru_cache(maxsize=len(DEFOCUS))
def _disk(radius: int, sigma: float) -> np.ndarray:
    """Kernel of the reference; its softened edge may be truncated by the square around it."""
    reach = max(8, radius)
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float32)
    side = 3 if radius <= 8 else 5
    return cv2.GaussianBlur(disk / disk.sum(), ksize=(side, side), sigmaX=sigma)


def draw_angle(rng: np.random.Generator, clean: CleanImage, severity: int) -> float:
    """Draw the direction of the motion in degrees, -45 to 45."""
    return rng.uniform(-45, 45)


def motion_blur(clean: CleanImage, severity: int, field: float) -> np.ndarray:
    """Motion blur in the direction ``field``, weighted by a one-sided Gaussian."""
    radius, sigma = MOTION[severity - 1]
    taps = motion_taps(radius=radius, sigma=sigma, angle=field, shape=clean.image.shape)
    return to_uint8(motion_filter(clean.float32, taps))


def zoom_blur(clean: CleanImage, severity: int) -> np.ndarray:
    """Mean of the image and its magnified center crops, which are cached across severities."""
    total = clean.torch_planes.clone()
    factors = np.arange(1, *ZOOM[severity - 1])
    for factor in factors:
        total += _zoomed(clean, float(factor))
    return from_planes(total[0].div_(len(factors) + 1).numpy())


def _zoomed(clean: CleanImage, factor: float) -> torch.Tensor:
    # Steps of 0.01 and 0.02 reach the same factor up to rounding.
    layers, key = clean.memo.setdefault('zoom', {}), round(factor, 9)
    if key in layers:
        return layers[key]
    top, rows = zoomed_part(clean.height, factor)
    left, columns = zoomed_part(clean.width, factor)
    middle = clean.torch_planes[:, :, top : top + rows, left : left + columns]
    layer = magnify(middle, factor)[:, :, : clean.height, : clean.width]
    if clean.image.size <= _SHARED_ZOOM_SIZE:
        layers[key] = layer
    return layer
