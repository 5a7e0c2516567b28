"""Checks a benchmark against its manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adasap_det.robustness.benchmark.errors import from_os_error
from adasap_det.robustness.benchmark.executors import InlineExecutor, local_executor, processors
from adasap_det.robustness.benchmark.extras import check_link
from adasap_det.robustness.benchmark.journal import BuiltImage
from adasap_det.robustness.benchmark.manifest import read_manifest
from adasap_det.robustness.benchmark.progress import ProgressReport
from adasap_det.robustness.benchmark.scheduling import results
from adasap_det.robustness.benchmark.worker import (
    Cell,
    cell_path,
    check_files,
    check_sources,
    other_image,
)

# Files that one piece of work checks.
_CHUNK = 400


@dataclass(frozen=True)
class VerifyReport:
    """Outcome of a check.

    Attributes:
        files: Number of files and links checked.
        missing, damaged: Paths below the benchmark, sorted.
    """

    files: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all is as it was built."""
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
        benchmark: Its folder. The source is not needed.
        workers: Number of processes, by default one a processor; 0 works here.
        executor: Does the work instead, and is left open.
        quiet: No progress.

    Returns:
        What is missing or damaged.

    Raises:
        BenchmarkError: If there is no finished benchmark.
    """
    out = Path(benchmark).absolute()
    try:
        manifest = read_manifest(out)
        expected = [*manifest.files.items(), *manifest.annotations.items()]
        complaints = [
            (path, complaint)
            for path, target in manifest.links.items()
            if (complaint := check_link(out, path, target)) is not None
        ]
        number = processors() if workers is None else workers
        if executor is not None:
            complaints += _check(out, expected, executor, in_flight=256, quiet=quiet)
        else:
            # Processes cost seconds to start; a small benchmark is read in less.
            with local_executor(number if len(expected) > 10 * _CHUNK else 0) as pool:
                complaints += _check(out, expected, pool, in_flight=4 * number, quiet=quiet)
    except OSError as error:
        raise from_os_error(error, out) from error
    return VerifyReport(
        files=len(expected) + len(manifest.links),
        missing=tuple(sorted(path for path, complaint in complaints if complaint == 'missing')),
        damaged=tuple(sorted(path for path, complaint in complaints if complaint == 'damaged')),
    )


def check_state(
    done: Mapping[str, BuiltImage],
    targets: Mapping[str, str],
    out: Path,
    executor: Executor,
    *,
    in_flight: int,
    quiet: bool,
) -> dict[str, set[Cell]]:
    """Cells whose file is missing or damaged, by image id, among images of an earlier run."""
    owner: dict[str, tuple[str, Cell]] = {}
    expected = []
    for name, known in done.items():
        for cell, wanted in known.files.items():
            path = cell_path(cell, targets[name])
            owner[path] = name, cell
            expected.append((path, wanted))
    bad: dict[str, set[Cell]] = {}
    for path, _ in _check(out, expected, executor, in_flight=in_flight, quiet=quiet):
        name, cell = owner[path]
        bad.setdefault(name, set()).add(cell)
    return bad


def check_clean(
    done: Mapping[str, BuiltImage],
    sources: Mapping[str, Path],
    out: Path,
    executor: Executor,
    *,
    in_flight: int,
    quiet: bool,
) -> None:
    """Whether the clean images are still those that an earlier run has corrupted.

    Otherwise old images would be combined with new annotations.

    Args:
        done: What was made, by image id.
        sources: Clean images, by image id.
        out: The benchmark.
        executor, in_flight: Do the work.
        quiet: No progress.

    Raises:
        BenchmarkError: Which one is another, and what to do.
    """
    expected = [
        (str(sources[name].absolute()), known.source_sha256) for name, known in done.items()
    ]
    bad = _check(
        out, expected, executor, in_flight=in_flight, quiet=quiet, check=check_sources,
        unit='images',
    )  # fmt: skip
    if bad:
        raise other_image(*min(bad), out)


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
    complaints: list[tuple[str, str]] = []
    in_flight = 1 if isinstance(executor, InlineExecutor) else max(1, in_flight)
    with ProgressReport('checking', len(expected), quiet=quiet, unit=unit) as progress:
        for number, found in results(executor, check, arguments, in_flight=in_flight):
            complaints += found
            progress.advance(number)
    return complaints
