"""Write files atomically."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(
    path: Path,
    *,
    durable: bool = False,
    size: int | None = None,
    temporary_dir: Path | None = None,
) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces ``path`` on success.

    Readers see the old file or the new one. On any exception ``path`` is left as it was and the
    temporary file is deleted; a killed process leaves its temporary file behind.

    Args:
        path: File to write. Missing folders are created. A symbolic link is replaced by a file.
        durable: Flush the file and its folder to the disk, so that it survives a loss of power.
        size: Number of bytes to be written, if known; it is named in the error on a full disk.
        temporary_dir: Existing folder for the temporary file, on the same file system; by default
            the folder of ``path``.

    Raises:
        OSError: If the file cannot be written; with its name, also where the failed call gave none.
    """
    if temporary_dir is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by their owner only.
    # File systems limit the bytes of a name, not its characters.
    name = path.name.encode(errors='ignore')[:80].decode(errors='ignore')
    temporary = (temporary_dir or path.parent) / f'.{name}.{uuid.uuid4().hex}.tmp'
    try:
        yield temporary
        if durable:
            sync(temporary)
        _replace(temporary, path)
    except OSError as error:
        if error.strerror is None or error.filename is not None:
            raise
        what = '' if size is None else f' while writing {size / 1e6:,.1f} MB'
        message = f'{error.strerror}{what}; no partial file was left, earlier files are intact'
        raise OSError(error.errno, message, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    if durable and os.name == 'posix':
        # Some network file systems cannot sync a folder; the file itself is safe.
        with suppress(OSError):
            sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        if not os.path.lexists(temporary):
            raise
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, path)
