"""One build at a time in a folder; the lock is released with its process, however that ends."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from adasap_det.robustness.benchmark.errors import BenchmarkError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: File that is locked while a benchmark is built; gone afterwards unless the process was killed.
LOCK = '.lock'
_TRIES = 10


@contextlib.contextmanager
def locked(folder: Path, *, say: Callable[[str], None] = print) -> Iterator[None]:
    """Lock a folder. Where locking is not possible, a warning is logged and nothing is locked.

    A file is locked, since network file systems share no locks of folders, nor of files that
    are only open for reading.

    Args:
        folder: It exists.
        say: Gets the line.

    Raises:
        BenchmarkError: If another process holds it.
    """
    path = folder / LOCK
    descriptor = None
    try:
        descriptor = _hold(path)
    except BlockingIOError:
        raise BenchmarkError(
            f'another process is building in {folder}; wait for it, or stop it'
        ) from None
    except OSError as error:
        say(
            f'{folder} cannot be locked ({error.strerror}): start no second build in it before '
            'this one ends'
        )
    try:
        yield
    finally:
        if descriptor is not None:
            # While it is held: whoever has opened it in the meantime sees that it is another file.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _hold(path: Path) -> int:
    """Descriptor of the locked file at ``path``; raises OSError if it cannot be locked."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, 'this system has no such locks')
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _lies_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder has removed it since
    raise OSError(errno.ESTALE, 'the file to lock is another each time')


def _lies_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
