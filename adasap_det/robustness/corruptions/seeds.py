"""Randomness of a corruption: a function of image, corruption and severity alone."""

from __future__ import annotations

import hashlib

import numpy as np


def corruption_seed(*, image_id: str, corruption: str, severity: int, seed: int = 0) -> int:
    """Seed of one corrupted image, the same on every machine, in any order of work.

    Args:
        image_id: Name of the image within its data set.
        corruption: Name of the corruption.
        severity: 1 to 5.
        seed: Seed of the whole benchmark.

    Returns:
        A number of 128 bits.
    """
    key = f'{seed}\n{corruption}\n{severity}\n{image_id}'.encode('utf-8', 'surrogateescape')
    return int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), 'little')


def generator(seed: int) -> np.random.Generator:
    """A generator for :func:`corruption_seed`'s seeds; SFC64 is the fastest of NumPy's."""
    return np.random.Generator(np.random.SFC64(seed))
