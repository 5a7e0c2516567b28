"""Lock of a benchmark folder, which the system releases when its process ends."""

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

#: File that is locked during a build; deleted afterwards unless the process was killed.
LOCK = '.lock'
_ATTEMPTS = 10


@contextlib.contextmanager
def locked(folder: Path, *, say: Callable[[str], None] = print) -> Iterator[None]:
    """Lock a folder, so that only one process builds in it.

    If the file system does not support locks, the folder stays unlocked, with a warning.
    The lock is on a file open for writing, since network file systems do not share locks of
    folders, nor of files opened read-only.

    Args:
        folder: Existing folder.
        say: Called with the warning.

    Raises:
        BenchmarkError: If another process has locked it.
    """
    path = folder / LOCK
    descriptor = None
    try:
        descriptor = _lock(path)
    except BlockingIOError:
        raise BenchmarkError(
            f'another process is building in {folder}; wait for it, or stop it'
        ) from None
    except OSError as error:
        say(
            f'{folder} cannot be locked ({error.strerror}): do not start a second build in it '
            'before this one ends'
        )
    try:
        yield
    finally:
        if descriptor is not None:
            # Before unlocking: a process that has opened it meanwhile sees that it was deleted.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _lock(path: Path) -> int:
    """Lock the file at ``path`` and return its descriptor; raise OSError if that fails."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, 'file locks are not available on this system')
    for _ in range(_ATTEMPTS):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)
            raise
        os.close(descriptor)  # another process has deleted it meanwhile
    raise OSError(errno.ESTALE, 'the lock file is replaced at each attempt')


def _is_file_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
