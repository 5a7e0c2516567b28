"""Task of a worker: decode one image and write all its corrupted versions."""

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
    write_file,
)
from adasap_det.robustness.benchmark.errors import BenchmarkError, ImageError
from adasap_det.robustness.benchmark.image_codec import centre_crop, decode, encode
from adasap_det.robustness.benchmark.options import Options, software
from adasap_det.robustness.corruptions import corrupt_severities

Cell = tuple[str, int]
# Maximum number of corruptions whose images wait for encoding; bounds the memory.
_MAX_WAITING = 2


@dataclass(frozen=True)
class ImageTask:
    """One image and the cells to build; plain data, since it is sent to other machines.

    Attributes:
        out: Folder of the benchmark, by a path that is valid for the worker too.
        image_id: Name of the image, which seeds the corruptions.
        source: File of the clean image.
        target: Path of the corrupted image inside a cell.
        options: Options of the benchmark.
        cells: Cells to build, grouped by corruption.
        software: Versions that the worker must have too.
        source_sha256: Checksum of the clean image, if known from an earlier run.
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
    """Result of an :class:`ImageTask`.

    Attributes:
        image_id: Name of the image.
        source_sha256: Checksum of the clean image.
        files: Digests of the written files, by cell.
        problem: Why the image is unusable; None if it was built.
    """

    image_id: str
    source_sha256: str = ''
    files: dict[Cell, FileDigest] = field(default_factory=dict)
    problem: str | None = None


def cell_path(cell: Cell, target: str) -> str:
    """Return the path of an image or folder of a cell inside the benchmark."""
    return f'{cell[0]}/{cell[1]}/{target}'


def build_image(task: ImageTask) -> ImageResult:
    """Write the corrupted versions of an image.

    Files are encoded and written in a second thread while the next corruption is computed.

    Raises:
        BenchmarkError: If the worker cannot access the benchmark, or has other versions.
        OSError: If writing fails.
    """
    out = Path(task.out)
    if not (out / TEMPORARY).is_dir():
        raise BenchmarkError(
            f'a worker does not see {out / TEMPORARY}: the benchmark must be in a folder that all '
            'workers share, under the same path, and must not be removed while it is built'
        )
    _check_software(task)
    try:
        image, source_sha256 = _load(task)
    except ImageError as error:
        return ImageResult(task.image_id, problem=str(error))
    if task.source_sha256 not in (None, source_sha256):
        raise clean_image_error(task.source, 'changed', out)

    def finish(cell: Cell, rgb: np.ndarray) -> tuple[Cell, FileDigest]:
        data = _encode(rgb, task.options)
        write_file(out, cell_path(cell, task.target), data)
        return cell, FileDigest.of(data)

    files: dict[Cell, FileDigest] = {}
    waiting: deque[list[Future[tuple[Cell, FileDigest]]]] = deque()
    with ThreadPoolExecutor(1, 'encode') as encoder:
        try:
            for name, images in _corrupted(task, image):
                waiting.append(
                    [encoder.submit(finish, (name, level), rgb) for level, rgb in images.items()]
                )
                if len(waiting) > _MAX_WAITING:
                    files.update(future.result() for future in waiting.popleft())
            for futures in waiting:
                files.update(future.result() for future in futures)
        except BaseException:
            encoder.shutdown(wait=True, cancel_futures=True)
            raise
    return ImageResult(task.image_id, source_sha256, files)


def measure_image(task: ImageTask) -> list[int] | None:
    """Return the sizes in bytes of the files of :func:`build_image`; None for a bad image."""
    try:
        image, _ = _load(task)
    except ImageError:
        return None
    return [
        len(_encode(rgb, task.options))
        for _, images in _corrupted(task, image)
        for rgb in images.values()
    ]


def clean_image_error(source: str, problem: str, out: Path) -> BenchmarkError:
    """Return the error for a clean image that is ``'changed'`` or ``'missing'``."""
    what = {
        'changed': 'is not the image that the rest of the benchmark was built from',
        'missing': 'cannot be read, and the rest of the benchmark was built from it',
    }[problem]
    return BenchmarkError(
        f'{source} {what}; restore it, or build again with --overwrite or after deleting {out}'
    )


def check_sources(out: str, expected: list[tuple[str, str]]) -> tuple[int, list[tuple[str, str]]]:
    """Compare clean images with the SHA-256 of those that a benchmark was built from.

    Args:
        out: Unused; for the same signature as :func:`check_files`.
        expected: Path and SHA-256 of each image.

    Returns:
        Number of images, and path and problem of each changed or missing one.
    """
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
    """Compare files of a benchmark with their digests.

    Returns:
        Number of files, and path and problem of each missing or damaged one.
    """
    found = ((path, check_file(Path(out), path, digest)) for path, digest in expected)
    bad = [(path, problem) for path, problem in found if problem is not None]
    return len(expected), bad


def _check_software(task: ImageTask) -> None:
    installed = software()
    for name, wanted in task.software:
        if installed.get(name) != wanted:
            raise BenchmarkError(
                f'a worker has {name} {installed.get(name)}, the benchmark is built with {wanted}; '
                'all machines of a build need the same versions and the same kind of processor'
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
    # With one process per core, the libraries' own threads would only compete for the cores.
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    by_corruption: dict[str, list[int]] = {}
    for name, level in task.cells:
        by_corruption.setdefault(name, []).append(level)
    for name, levels in by_corruption.items():
        yield (
            name,
            corrupt_severities(
                image,
                corruption=name,
                severities=tuple(levels),
                image_id=task.image_id,
                seed=task.options.seed,
                like_imagenet_c=task.options.imagenet_c,
            ),
        )


def _encode(rgb: np.ndarray, options: Options) -> bytes:
    return encode(
        rgb, format=options.format, quality=options.quality, subsampling=options.subsampling
    )
