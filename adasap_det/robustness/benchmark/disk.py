"""Disk space of a benchmark, estimated from a few of its images, and checked."""

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

# File systems allocate blocks, and the sample is only a sample.
_BLOCK = 4096
_MARGIN = 1.1
_MAX_SAMPLE = 8


@dataclass(frozen=True)
class DiskEstimate:
    """Disk space that a build will take.

    Attributes:
        size: In bytes, with a margin for the sample's error.
        files: Number of files.
        sampled: Images that the estimate comes from.
    """

    size: int
    files: int
    sampled: int


def estimate(executor: Executor, tasks: Sequence[ImageTask], *, extra: int = 0) -> DiskEstimate:
    """Encode every version of a few images and scale up.

    Args:
        executor: Does the encoding.
        tasks: What is to be built.
        extra: Bytes of annotations.

    Returns:
        The need. An image that cannot be read counts like the others, for want of better.
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
            sizes += [on_disk(size) for size in measured]
            sampled += 1
    mean = sum(sizes) / len(sizes) if sizes else _BLOCK
    return DiskEstimate(int(files * mean * _MARGIN) + extra, files, sampled)


def taken(paths: Iterable[Path]) -> DiskEstimate:
    """Disk space that files, and folders with their content, take now."""
    size = files = 0
    for path in paths:
        for file in [path, *path.rglob('*')] if path.is_dir() else [path]:
            status = file.lstat()
            files += 1
            size += on_disk(status.st_size) if stat.S_ISREG(status.st_mode) else 0
    return DiskEstimate(size, files, 0)


def require_room(out: Path, need: DiskEstimate, *, freed: DiskEstimate | None = None) -> str:
    """Compare with the free space.

    Args:
        out: Folder on the disk in question.
        need: What is to be written.
        freed: What will be deleted first.

    Returns:
        A sentence that says both.

    Raises:
        BenchmarkError: If there is too little room, or too few files may be made.
    """
    freed = freed or DiskEstimate(0, 0, 0)
    free = shutil.disk_usage(out).free
    text = f'disk: about {human(need.size)} needed at {out}, {human(free)} free'
    if freed.size:
        text += f' and {human(freed.size)} more after deleting the existing benchmark'
    free += freed.size
    if need.size > free:
        raise BenchmarkError(
            f'{text}; free space, choose another folder with --out, or build less with --subset, '
            '--corruptions, --severities or --quality'
        )
    if hasattr(os, 'statvfs'):
        status = os.statvfs(out)
        # Some file systems have no such limit and say 0.
        more = status.f_favail + freed.files
        if status.f_files and more < need.files:
            raise BenchmarkError(
                f'the file system of {out} takes {more:,} more files, and '
                f'{need.files:,} are needed; choose another folder with --out'
            )
    return text


def on_disk(size: int) -> int:
    """Disk space that a file of this size takes."""
    return -(-size // _BLOCK) * _BLOCK


def human(size: float) -> str:
    """Bytes in a unit that reads well, powers of 1000."""
    for unit in ('bytes', 'kB', 'MB', 'GB'):
        if size < 1000:
            return f'{size:.0f} {unit}' if unit == 'bytes' else f'{size:.3g} {unit}'
        size /= 1000
    return f'{size:.3g} TB'


def _spread(tasks: Sequence[ImageTask], number: int) -> list[ImageTask]:
    step = len(tasks) / number
    return [tasks[int((i + 0.5) * step)] for i in range(number)]
