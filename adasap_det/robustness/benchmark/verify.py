"""Verify a benchmark against its manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adasap_det.robustness.benchmark.errors import from_os_error
from adasap_det.robustness.benchmark.executors import InlineExecutor, available_cpus, local_executor
from adasap_det.robustness.benchmark.extras import check_link
from adasap_det.robustness.benchmark.journal import BuiltImage
from adasap_det.robustness.benchmark.manifest import read_manifest
from adasap_det.robustness.benchmark.progress import ProgressReport
from adasap_det.robustness.benchmark.scheduling import map_bounded
from adasap_det.robustness.benchmark.worker import (
    Cell,
    cell_path,
    check_files,
    check_sources,
    clean_image_error,
)

# Number of files that one task checks.
_CHUNK = 400


@dataclass(frozen=True)
class VerifyReport:
    """Result of a verification.

    Attributes:
        files: Number of files and links checked.
        missing, damaged: Paths below the benchmark, sorted.
    """

    files: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether no file is missing or damaged."""
        return not self.missing and not self.damaged


def verify_benchmark(
    benchmark: str | os.PathLike[str],
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    quiet: bool = False,
) -> VerifyReport:
    """Compare every file of a finished benchmark with the checksum in its manifest.

    Args:
        benchmark: Folder of the benchmark. The source is not needed.
        workers: Number of processes, by default one per CPU; 0 for none but the calling one.
        executor: Replaces ``workers``, and is left open.
        quiet: Show no progress.

    Returns:
        The missing and damaged files.

    Raises:
        BenchmarkError: If there is no finished benchmark.
    """
    out = Path(benchmark).absolute()
    try:
        manifest = read_manifest(out)
        expected = [*manifest.files.items(), *manifest.annotations.items()]
        bad = [
            (path, problem)
            for path, target in manifest.links.items()
            if (problem := check_link(out, path, target)) is not None
        ]
        number = available_cpus() if workers is None else workers
        if executor is not None:
            bad += _check(out, expected, executor, in_flight=256, quiet=quiet)
        else:
            # Starting processes takes seconds, longer than reading a small benchmark.
            with local_executor(number if len(expected) > 10 * _CHUNK else 0) as pool:
                bad += _check(out, expected, pool, in_flight=4 * number, quiet=quiet)
    except OSError as error:
        raise from_os_error(error, out) from error
    return VerifyReport(
        files=len(expected) + len(manifest.links),
        missing=tuple(sorted(path for path, problem in bad if problem == 'missing')),
        damaged=tuple(sorted(path for path, problem in bad if problem == 'damaged')),
    )


def find_bad_files(
    built_images: Mapping[str, BuiltImage],
    targets: Mapping[str, str],
    out: Path,
    executor: Executor,
    *,
    in_flight: int,
    quiet: bool,
) -> dict[str, set[Cell]]:
    """Return the cells of each image of an earlier run whose file is missing or damaged."""
    owner: dict[str, tuple[str, Cell]] = {}
    expected = []
    for name, built in built_images.items():
        for cell, digest in built.files.items():
            path = cell_path(cell, targets[name])
            owner[path] = name, cell
            expected.append((path, digest))
    bad: dict[str, set[Cell]] = {}
    for path, _ in _check(out, expected, executor, in_flight=in_flight, quiet=quiet):
        name, cell = owner[path]
        bad.setdefault(name, set()).add(cell)
    return bad


def check_clean_images(
    built_images: Mapping[str, BuiltImage],
    sources: Mapping[str, Path],
    out: Path,
    executor: Executor,
    *,
    in_flight: int,
    quiet: bool,
) -> None:
    """Check that the clean images are still those that an earlier run corrupted.

    Otherwise old images would be combined with new annotations.

    Args:
        built_images: Finished images, by image id.
        sources: Files of the clean images, by image id.
        out: Folder of the benchmark.
        executor: Runs the check.
        in_flight: Maximum number of submitted tasks at a time.
        quiet: Show no progress.

    Raises:
        BenchmarkError: If an image has changed or is missing.
    """
    expected = [
        (str(sources[name].absolute()), built.source_sha256) for name, built in built_images.items()
    ]
    bad = _check(
        out, expected, executor, in_flight=in_flight, quiet=quiet, check=check_sources,
        unit='images',
    )  # fmt: skip
    if bad:
        raise clean_image_error(*min(bad), out)


def _check(
    out: Path,
    expected: Sequence[tuple[str, Any]],
    executor: Executor,
    *,
    in_flight: int,
    quiet: bool,
    check: Callable[..., tuple[int, list[tuple[str, str]]]] = check_files,
    unit: str = 'files',
) -> list[tuple[str, str]]:
    chunks = [expected[i : i + _CHUNK] for i in range(0, len(expected), _CHUNK)]
    arguments = ((str(out), chunk) for chunk in chunks)
    bad: list[tuple[str, str]] = []
    in_flight = 1 if isinstance(executor, InlineExecutor) else max(1, in_flight)
    with ProgressReport('checking', len(expected), quiet=quiet, unit=unit) as progress:
        for number, found in map_bounded(executor, check, arguments, in_flight=in_flight):
            bad += found
            progress.advance(number)
    return bad
