"""Atomically written files and their checksums."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.utils.io import atomic_write

#: Folder inside a benchmark for files that are being written; gone when it is complete.
TEMPORARY = '.unfinished'


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file must be.

    Attributes:
        size: In bytes.
        sha256: Hexadecimal.
    """

    size: int
    sha256: str


def stamp(data: bytes) -> FileDigest:
    """The digest of a file with this content."""
    return FileDigest(len(data), hashlib.sha256(data).hexdigest())


def write_whole(out: Path, relative: str, data: bytes, *, durable: bool = False) -> None:
    """Write ``out/relative`` such that nobody ever sees a part of it.

    Args:
        out: The benchmark; its folder of unfinished files must exist.
        relative: Path below it; missing folders are made, ``out`` itself never is.
        data: Content.
        durable: Wait until the disk has it, so that it outlives a loss of power.

    Raises:
        OSError: If the disk is full or something else is in the way; no part is left then.
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
        OSError: If links do not work here, or a real folder is in the way.
    """
    with atomic_write(out / relative, temporary_dir=out / TEMPORARY) as temporary:
        os.symlink(target, temporary)


def links_work(out: Path) -> bool:
    """Whether the file system of ``out`` has symbolic links."""
    probe = out / TEMPORARY / uuid.uuid4().hex
    try:
        os.symlink('nowhere', probe)
    except (OSError, NotImplementedError):
        return False
    probe.unlink()
    return True


def check_file(out: Path, relative: str, expected: FileDigest) -> str | None:
    """What is wrong with a file: ``'missing'``, ``'damaged'`` or None."""
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
    """A path out of a journal or manifest, which must stay inside the benchmark.

    Raises:
        BenchmarkError: If it does not.
    """
    if relative.startswith('/') or '..' in PurePosixPath(relative).parts:
        raise BenchmarkError(f'{relative!r} leads out of the benchmark')
    return relative
