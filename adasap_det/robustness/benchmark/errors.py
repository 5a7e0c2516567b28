"""Errors of building a benchmark; their messages name the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


class BenchmarkError(ValueError):
    """The benchmark cannot be built or read; the message names the reason and the remedy."""


class ImageError(ValueError):
    """A single image or its annotation cannot be used."""


def from_os_error(error: OSError, out: str | os.PathLike[str]) -> BenchmarkError:
    """Convert the error of a system call while building ``out`` to a readable one."""
    name: object = error.filename2 or error.filename or out
    if error.errno in _FULL:
        return BenchmarkError(
            f'the disk is full, or the quota used up, at {out}; no file is half-written. Free '
            'space and run the same command again: it resumes'
        )
    if isinstance(error, NotADirectoryError | FileExistsError):
        path = Path(str(name))
        name = next((folder for folder in (*path.parents, path) if folder.is_file()), path)
        return BenchmarkError(
            f'{name} is a file where a folder should be; move it away and run the same command '
            'again'
        )
    if isinstance(error, IsADirectoryError):
        return BenchmarkError(
            f'{name} is a folder where a file should be; move it away and run the same command '
            'again'
        )
    return BenchmarkError(f'{name}: {error.strerror or error}')
