"""One build at a time in a folder; the lock goes with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from adasap_det.robustness.benchmark.errors import BenchmarkError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder. Where the file system has no locks, nothing is held.

    Raises:
        BenchmarkError: If another process holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchmarkError(
                f'another process is building in {folder}; wait for it, or stop it'
            ) from None
        except OSError:
            pass  # some network file systems lock only files open for writing
        yield
    finally:
        os.close(descriptor)
