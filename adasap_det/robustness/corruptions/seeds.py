"""Seeds that depend only on image, corruption, severity and benchmark seed."""

from __future__ import annotations

import hashlib

import numpy as np


def corruption_seed(*, image_id: str, corruption: str, severity: int, seed: int = 0) -> int:
    """Seed of one corrupted image, independent of the machine and the order of processing.

    Args:
        image_id: Name of the image within its data set.
        corruption: Name of the corruption.
        severity: 1 to 5.
        seed: Seed of the benchmark.

    Returns:
        A 128-bit integer.
    """
    key = f'{seed}\n{corruption}\n{severity}\n{image_id}'.encode('utf-8', 'surrogateescape')
    return int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), 'little')


def generator(seed: int) -> np.random.Generator:
    """Return a generator for a seed of :func:`corruption_seed`; SFC64 is NumPy's fastest."""
    return np.random.Generator(np.random.SFC64(seed))
