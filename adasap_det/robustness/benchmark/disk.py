"""Estimate the disk space of a benchmark from a few of its images, and check it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.worker import ImageTask, measure_image

# File systems allocate whole blocks. The margin covers the error of the sample.
_BLOCK = 4096
_MARGIN = 1.1
_MAX_SAMPLE = 8


@dataclass(frozen=True)
class DiskEstimate:
    """Disk space that files take.

    Attributes:
        size: In bytes; an estimate includes a margin for the sample's error.
        files: Number of files.
        sampled: Number of images that the estimate is based on.
    """

    size: int
    files: int
    sampled: int


def estimate_disk(
    executor: Executor, tasks: Sequence[ImageTask], *, extra: int = 0
) -> DiskEstimate:
    """Estimate the disk space of a build by encoding all versions of a few images.

    Args:
        executor: Runs the encoding.
        tasks: Images to build.
        extra: Bytes of annotations.

    Returns:
        The estimate. Unreadable images are assumed to take the mean of the others.
    """
    files = sum(len(task.cells) for task in tasks)
    if not files:
        return DiskEstimate(extra, 0, 0)
    sample = _spread(tasks, min(_MAX_SAMPLE, -(-len(tasks) // 50)))
    sizes: list[int] = []
    sampled = 0
    for future in [executor.submit(measure_image, task) for task in sample]:
        measured = future.result()
        if measured is not None:
            sizes += [size_on_disk(size) for size in measured]
            sampled += 1
    mean = sum(sizes) / len(sizes) if sizes else _BLOCK
    return DiskEstimate(int(files * mean * _MARGIN) + extra, files, sampled)


def used_space(paths: Iterable[Path]) -> DiskEstimate:
    """Return the disk space of existing files, and of folders with their content."""
    size = files = 0
    for path in paths:
        for file in [path, *path.rglob('*')] if path.is_dir() else [path]:
            status = file.lstat()
            files += 1
            size += size_on_disk(status.st_size) if stat.S_ISREG(status.st_mode) else 0
    return DiskEstimate(size, files, 0)


def check_free_space(out: Path, needed: DiskEstimate, *, freed: DiskEstimate | None = None) -> str:
    """Compare the needed disk space with the free one.

    Args:
        out: Existing folder on the disk.
        needed: Files to write.
        freed: Files that are deleted first.

    Returns:
        A sentence with both sizes.

    Raises:
        BenchmarkError: If the disk has too little space, or the file system allows too few files.
    """
    freed = freed or DiskEstimate(0, 0, 0)
    free = shutil.disk_usage(out).free
    text = f'disk: about {format_size(needed.size)} needed at {out}, {format_size(free)} free'
    if freed.size:
        text += f' and {format_size(freed.size)} more after deleting the existing benchmark'
    free += freed.size
    if needed.size > free:
        raise BenchmarkError(
            f'{text}; free space, choose another folder with --out, or build less with --subset, '
            '--corruptions, --severities or --quality'
        )
    if hasattr(os, 'statvfs'):
        status = os.statvfs(out)
        # 0 on file systems without such a limit.
        free_files = status.f_favail + freed.files
        if status.f_files and free_files < needed.files:
            raise BenchmarkError(
                f'the file system of {out} has room for {free_files:,} more files, and '
                f'{needed.files:,} are needed; choose another folder with --out'
            )
    return text


def size_on_disk(size: int) -> int:
    """Return the disk space of a file of this size, both in bytes."""
    return -(-size // _BLOCK) * _BLOCK


def format_size(size: float) -> str:
    """Format a number of bytes with a decimal unit, such as ``1.23 GB``."""
    for unit in ('bytes', 'kB', 'MB', 'GB'):
        if size < 1000:
            return f'{size:.0f} {unit}' if unit == 'bytes' else f'{size:.3g} {unit}'
        size /= 1000
    return f'{size:.3g} TB'


def _spread(tasks: Sequence[ImageTask], number: int) -> list[ImageTask]:
    """Return evenly spaced tasks."""
    step = len(tasks) / number
    return [tasks[int((i + 0.5) * step)] for i in range(number)]
