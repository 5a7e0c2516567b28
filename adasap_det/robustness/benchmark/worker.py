"""The task of a worker: one image, decoded once, in all its corrupted versions."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from adasap_det.robustness.benchmark.digests import (
    TEMPORARY,
    FileDigest,
    check_file,
    stamp,
    write_whole,
)
from adasap_det.robustness.benchmark.errors import BenchmarkError, ImageError
from adasap_det.robustness.benchmark.image_codec import centre_crop, decode, encode
from adasap_det.robustness.benchmark.options import Options, software
from adasap_det.robustness.corruptions import corrupt_severities

Cell = tuple[str, int]
# Corruptions whose images wait for the encoder; bounds the memory.
_WAITING = 2


@dataclass(frozen=True)
class ImageTask:
    """One image and what to make of it. Plain data: it travels to other machines.

    Attributes:
        out: The benchmark, by a path that the worker sees too.
        image_id: Seeds the corruptions.
        source: The clean image's file.
        target: Path of the corrupted image inside a cell.
        options: Of the benchmark; its cells are not all wanted.
        cells: Those wanted, those of one corruption side by side.
        software: Versions that the worker must have too.
        source_sha256: Of the clean image, if it is known from an earlier run.
    """

    out: str
    image_id: str
    source: str
    target: str
    options: Options
    cells: tuple[Cell, ...]
    software: tuple[tuple[str, str], ...]
    source_sha256: str | None = None


@dataclass(frozen=True)
class ImageResult:
    """What became of one image.

    Attributes:
        image_id: Which one.
        source_sha256: Of the clean image.
        files: FileDigest of what was written, by cell.
        problem: Why nothing was.
    """

    image_id: str
    source_sha256: str = ''
    files: dict[Cell, FileDigest] = field(default_factory=dict)
    problem: str | None = None


def cell_path(cell: Cell, target: str) -> str:
    """Path of an image inside the benchmark."""
    return f'{cell[0]}/{cell[1]}/{target}'


def build_image(task: ImageTask) -> ImageResult:
    """Write every wanted version of an image.

    Encoding and writing run in a second thread while the next corruption is computed.

    Raises:
        BenchmarkError: If this worker cannot see the benchmark, or has other versions.
        OSError: If writing fails.
    """
    out = Path(task.out)
    if not (out / TEMPORARY).is_dir():
        raise BenchmarkError(
            f'a worker does not see {out / TEMPORARY}: the benchmark must lie in a folder that '
            'all workers share, under the same path, and must not be removed while it is built'
        )
    _check_software(task)
    try:
        image, source_sha256 = _load(task)
    except ImageError as error:
        return ImageResult(task.image_id, problem=str(error))
    if task.source_sha256 not in (None, source_sha256):
        raise other_image(task.source, 'changed', out)

    def finish(cell: Cell, rgb: np.ndarray) -> tuple[Cell, FileDigest]:
        data = _encode(rgb, task.options)
        write_whole(out, cell_path(cell, task.target), data)
        return cell, stamp(data)

    files: dict[Cell, FileDigest] = {}
    waiting: deque[list[Future[tuple[Cell, FileDigest]]]] = deque()
    with ThreadPoolExecutor(1, 'encode') as encoder:
        try:
            for name, images in _corrupted(task, image):
                waiting.append(
                    [encoder.submit(finish, (name, level), rgb) for level, rgb in images.items()]
                )
                if len(waiting) > _WAITING:
                    files.update(future.result() for future in waiting.popleft())
            for futures in waiting:
                files.update(future.result() for future in futures)
        except BaseException:
            encoder.shutdown(wait=True, cancel_futures=True)
            raise
    return ImageResult(task.image_id, source_sha256, files)


def measure_image(task: ImageTask) -> list[int] | None:
    """Sizes in bytes of the files that :func:`build_image` would write; None if it would not."""
    try:
        image, _ = _load(task)
    except ImageError:
        return None
    return [
        len(_encode(rgb, task.options))
        for _, images in _corrupted(task, image)
        for rgb in images.values()
    ]


def other_image(source: str, complaint: str, out: Path) -> BenchmarkError:
    """What to say of a clean image that is ``'changed'`` or ``'missing'`` under a benchmark."""
    what = {
        'changed': 'is not the image that the rest of the benchmark was made of',
        'missing': 'cannot be read, and the rest of the benchmark was made of it',
    }[complaint]
    return BenchmarkError(
        f'{source} {what}; restore it, or build again with --overwrite, or with {out} deleted'
    )


def check_sources(out: str, expected: list[tuple[str, str]]) -> tuple[int, list[tuple[str, str]]]:
    """Compare clean images with the SHA-256 of those that a benchmark was made of; how many, and
    path and complaint of each other one. ``out`` is not looked at."""
    bad = []
    for source, sha256 in expected:
        try:
            found = hashlib.sha256(Path(source).read_bytes()).hexdigest()
        except OSError:
            bad.append((source, 'missing'))
            continue
        if found != sha256:
            bad.append((source, 'changed'))
    return len(expected), bad


def check_files(
    out: str, expected: list[tuple[str, FileDigest]]
) -> tuple[int, list[tuple[str, str]]]:
    """Compare files with their digests; returns how many, and path and problem of each bad one."""
    found = ((path, check_file(Path(out), path, wanted)) for path, wanted in expected)
    bad = [(path, complaint) for path, complaint in found if complaint is not None]
    return len(expected), bad


def _check_software(task: ImageTask) -> None:
    here = software()
    for name, wanted in task.software:
        if here.get(name) != wanted:
            raise BenchmarkError(
                f'a worker has {name} {here.get(name)}, the benchmark is built with {wanted}; '
                'all machines of a build need the same versions, and one kind of processor'
            )


def _load(task: ImageTask) -> tuple[np.ndarray, str]:
    try:
        data = Path(task.source).read_bytes()
    except OSError as error:
        raise ImageError(f'the image cannot be read ({error.strerror})') from None
    image = decode(data)
    if task.options.crop is not None:
        image = centre_crop(image, task.options.crop)
    return image, hashlib.sha256(data).hexdigest()


def _corrupted(task: ImageTask, image: np.ndarray) -> Iterator[tuple[str, dict[int, np.ndarray]]]:
    # One process a core is what fills a machine; threads of libraries would only get in the way.
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    wanted: dict[str, list[int]] = {}
    for name, level in task.cells:
        wanted.setdefault(name, []).append(level)
    for name, levels in wanted.items():
        yield (
            name,
            corrupt_severities(
                image,
                corruption=name,
                severities=tuple(levels),
                image_id=task.image_id,
                seed=task.options.seed,
            ),
        )


def _encode(rgb: np.ndarray, options: Options) -> bytes:
    return encode(
        rgb, format=options.format, quality=options.quality, subsampling=options.subsampling
    )
