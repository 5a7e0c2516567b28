"""Errors of a build, with the remedy in the message."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


class BenchmarkError(ValueError):
    """The request, the source or the disk does not allow a benchmark."""


class ImageError(ValueError):
    """One image or its annotation cannot be used; the others can."""


def from_os_error(error: OSError, out: str | os.PathLike[str]) -> BenchmarkError:
    """A failed system call in the words of somebody who wants a benchmark at ``out``."""
    name: object = error.filename2 or error.filename or out
    if error.errno in _FULL:
        return BenchmarkError(
            f'the disk is full, or the quota used up, at {out}; nothing is half-written. Make '
            'space and run the same command again: it resumes'
        )
    if isinstance(error, NotADirectoryError | FileExistsError):
        path = Path(str(name))
        name = next((folder for folder in (*path.parents, path) if folder.is_file()), path)
        return BenchmarkError(
            f'{name}: a file is in the place of a folder; move it away and run the same '
            'command again'
        )
    if isinstance(error, IsADirectoryError):
        return BenchmarkError(
            f'{name}: a folder is in the place of a file; move it away and run the same '
            'command again'
        )
    return BenchmarkError(f'{name}: {error.strerror or error}')
