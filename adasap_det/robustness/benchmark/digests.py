"""Atomically written files and their checksums."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.utils.io import atomic_write

#: Folder inside a benchmark for files being written; deleted when the benchmark is complete.
TEMPORARY = '.unfinished'


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and checksum of a file.

    Attributes:
        size: In bytes.
        sha256: Hexadecimal.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> FileDigest:
        """Return the digest of a file with this content."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


def write_file(out: Path, relative: str, data: bytes, *, durable: bool = False) -> None:
    """Write ``out/relative`` atomically: readers never see a partial file.

    Args:
        out: Folder of the benchmark; its folder of unfinished files must exist.
        relative: Path below ``out``; missing folders are created, but never ``out`` itself.
        data: Content.
        durable: Flush the file to the disk, so that it survives a loss of power.

    Raises:
        OSError: If the disk is full or the path is blocked; no partial file is left.
    """
    with atomic_write(out / relative, durable=durable, temporary_dir=out / TEMPORARY) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)


def link(out: Path, relative: str, target: str) -> None:
    """Make ``out/relative`` a symbolic link to ``target``; an existing link is replaced.

    Raises:
        OSError: If symbolic links are not supported, or a real folder has this path.
    """
    with atomic_write(out / relative, temporary_dir=out / TEMPORARY) as temporary:
        os.symlink(target, temporary)


def supports_symlinks(out: Path) -> bool:
    """Return whether the file system of ``out`` supports symbolic links."""
    probe = out / TEMPORARY / uuid.uuid4().hex
    try:
        os.symlink('nowhere', probe)
    except (OSError, NotImplementedError):
        return False
    probe.unlink()
    return True


def check_file(out: Path, relative: str, expected: FileDigest) -> str | None:
    """Return the problem of a file, ``'missing'`` or ``'damaged'``, or None."""
    digest = hashlib.sha256()
    try:
        with (out / relative).open('rb') as file:
            if os.fstat(file.fileno()).st_size != expected.size:
                return 'damaged'
            while block := file.read(1 << 20):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return 'missing'
    except OSError:
        return 'damaged'
    return None if digest.hexdigest() == expected.sha256 else 'damaged'


def check_inside(relative: str) -> str:
    """Return a path from a journal or manifest if it is inside the benchmark.

    Raises:
        BenchmarkError: If it is not.
    """
    if relative.startswith('/') or '..' in PurePosixPath(relative).parts:
        raise BenchmarkError(f'{relative!r} is outside the benchmark')
    return relative
