"""Gaussian, shot, impulse and speckle noise. Source: Hendrycks & Dietterich 2019."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .clean_image import CleanImage
from .random_bits import BITS, RandomBits

GAUSSIAN_SCALE = (0.08, 0.12, 0.18, 0.26, 0.38)
SPECKLE_SCALE = (0.15, 0.2, 0.35, 0.45, 0.6)
PHOTONS = (60, 25, 12, 5, 3)
IMPULSE_AMOUNT = (0.03, 0.06, 0.09, 0.17, 0.27)

_SHOT_BITS = 12  # a table of 256 grey levels by 12 bits fits into the CPU cache
_UNDECIDED_SHOT = 255
_UNDECIDED_GAUSSIAN = np.iinfo(np.int16).min


def draw_bits(rng: np.random.Generator, clean: CleanImage, severity: int) -> RandomBits:
    """Draw a uniform field with 16 leading bits, ``(H, W, 3)``."""
    return RandomBits.draw(rng, clean.image.shape)


def gaussian_noise(clean: CleanImage, severity: int, field: RandomBits) -> np.ndarray:
    """``x + scale * n``, where n is the normal quantile of the field.

    Since x is an integer and the result is truncated, only the discrete ``floor(scale * n)``
    matters.
    """
    scale = 255 * GAUSSIAN_SCALE[severity - 1]
    noise = _gaussian_table(severity).take(field.leading)
    undecided = np.flatnonzero(noise == _UNDECIDED_GAUSSIAN)
    noise.reshape(-1)[undecided] = np.floor(scale * _normal_quantile(field.refine(undecided)))
    return cv2.add(clean.int16, noise, dtype=cv2.CV_8U)


@lru_cache(maxsize=len(GAUSSIAN_SCALE))
def _gaussian_table(severity: int) -> np.ndarray:
    """Noise in grey levels, int16, indexed by the leading bits."""
    scale = 255 * GAUSSIAN_SCALE[severity - 1]
    with np.errstate(divide='ignore'):
        steps = scale * _normal_quantile(np.arange((1 << BITS) + 1) / (1 << BITS))
    low, high = np.floor(steps[:-1]), np.ceil(steps[1:]) - 1
    decided = np.isfinite(low) & (low == high)
    return np.where(decided, low, _UNDECIDED_GAUSSIAN).astype(np.int16)


def _normal_quantile(uniform: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(uniform)


def draw_normal(rng: np.random.Generator, clean: CleanImage, severity: int) -> np.ndarray:
    """Draw a standard normal field, float32 ``(H, W, 3)``."""
    return rng.standard_normal(clean.image.shape, dtype=np.float32)


def speckle_noise(clean: CleanImage, severity: int, field: np.ndarray) -> np.ndarray:
    """``x + x * scale * field``."""
    scale = SPECKLE_SCALE[severity - 1]
    noise = cv2.multiply(clean.float32, field)
    return cv2.addWeighted(clean.float32, 1.0, noise, scale, -0.499, dtype=cv2.CV_8U)


def impulse_noise(clean: CleanImage, severity: int, field: RandomBits) -> np.ndarray:
    """Set each value to 255 or to 0, each with probability ``amount / 2``.

    The lowest numbers of the field become salt, the next pepper.
    """
    amount = IMPULSE_AMOUNT[severity - 1]
    salt = _below(field, amount / 2)
    pepper = _below(field, amount)
    return (clean.image & ~pepper) | salt


def _below(field: RandomBits, threshold: float) -> np.ndarray:
    """255 where the field is below the threshold, else 0, uint8."""
    cell, rest = divmod(threshold * (1 << BITS), 1)
    below = field.leading < np.uint16(cell)
    (undecided,) = np.nonzero(field.leading.reshape(-1) == np.uint16(cell))
    below.reshape(-1)[undecided] = field.rng.random(undecided.size) < rest
    return (-below.view(np.int8)).view(np.uint8)


def shot_noise(clean: CleanImage, severity: int, field: RandomBits) -> np.ndarray:
    """Poisson counts with mean ``photons * x``: quantiles of the field, by table."""
    table, cumulative, grey = _poisson_table(PHOTONS[severity - 1])
    index = clean.memo.get('shot_index')
    if index is None:
        index = clean.memo['shot_index'] = clean.image.astype(np.int32) << _SHOT_BITS
    counts = table.take(index | (field.leading >> (BITS - _SHOT_BITS)))
    undecided = np.flatnonzero(counts == _UNDECIDED_SHOT)
    levels = clean.image.reshape(-1)[undecided].astype(np.int64)
    uniform = field.refine(undecided, bits=_SHOT_BITS)
    # One search for all grey levels: the distribution function of each is offset by its level.
    steps = np.searchsorted(cumulative.reshape(-1), levels + uniform, side='right')
    counts.reshape(-1)[undecided] = steps - levels * cumulative.shape[1]
    return cv2.LUT(counts, grey)


@lru_cache(maxsize=len(PHOTONS))
def _poisson_table(photons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts by grey level and leading bits, distribution functions, and grey value of a count."""
    from scipy.stats import poisson

    limit = int(poisson.ppf(1 - 1e-15, photons)) + 2  # fewer than 255 for 60 photons
    rates = photons * np.arange(256) / 255
    cumulative = poisson.cdf(np.arange(limit), rates[:, None])
    edges = np.arange((1 << _SHOT_BITS) + 1) / (1 << _SHOT_BITS)
    table = np.empty((256, 1 << _SHOT_BITS), np.uint8)
    for level in range(256):
        low = np.searchsorted(cumulative[level], edges[:-1], side='right')
        high = np.searchsorted(cumulative[level], edges[1:], side='left')
        table[level] = np.where(low == high, low, _UNDECIDED_SHOT)
    grey = (np.clip(np.arange(256) / photons, 0, 1) * 255).astype(np.uint8)
    return table.reshape(-1), cumulative + np.arange(256)[:, None], grey
