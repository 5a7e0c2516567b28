"""The demo's corrupted benchmark and the evaluation of each model on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from adasap_det.cli.common import add_structure_hook
from adasap_det.demo.runner import build_runner
from adasap_det.demo.settings import Settings
from adasap_det.robustness.benchmark import build_benchmark, make_options, voc_source
from adasap_det.robustness.corruptions import check_corruptions
from adasap_det.robustness.evaluation.cell_data import Built
from adasap_det.robustness.evaluation.sweep import Sweep
from adasap_det.robustness.metrics import FULL_GRID, Robustness, summarise
from adasap_det.robustness.results import CellKey


def build(data: Path, out: Path, settings: Settings, *, say: Callable[[str], None]) -> None:
    """Corrupt the first test images; files that exist are kept.

    Args:
        data: ``VOC2007`` folder of the demo's data set.
        out: Folder of the benchmark.
        settings: Size of the demo.
        say: Called with progress messages.
    """
    build_benchmark(
        voc_source(data, split='test'),
        out,
        options=make_options(corruptions=settings.corruptions, severities=settings.severities),
        subset=settings.corrupted,
        workers=settings.workers,
        say=say,
    )


def grid(settings: Settings) -> tuple[CellKey, ...]:
    """Return the cells of the demo's benchmark."""
    names = check_corruptions(settings.corruptions)
    return tuple((name, severity) for name in names for severity in settings.severities)


def mean_name(settings: Settings) -> str:
    """Return the name of the mean over these cells: mPC only for the full grid."""
    cells = grid(settings)
    full = set(cells) == set(FULL_GRID)
    return 'mPC' if full else f'mean of {len(cells)} of {len(FULL_GRID)} cells'


def sweep(
    cfg: Config,
    checkpoint: Path,
    *,
    name: str,
    out: Path,
    benchmark: Path,
    settings: Settings,
    latency_ms: float,
    say: Callable[[str], None],
) -> Robustness:
    """Evaluate one model on every cell, and draw an example of each corruption.

    Args:
        cfg: Config of the dense model; loading a pruned checkpoint shrinks the model.
        checkpoint: Dense or pruned checkpoint.
        name: Name of the model in the report.
        out: Folder of its results.
        benchmark: Folder from :func:`build`.
        settings: Size of the demo.
        latency_ms: Latency, measured interleaved with the other models.
        say: Called with a message for each cell.
    """
    cfg = cfg.copy()
    cfg.work_dir = str(out / 'log')
    cfg.load_from, cfg.resume = str(checkpoint), False
    add_structure_hook(cfg)
    cfg.log_level = 'WARNING'  # `say` prints a line for each cell
    run = Sweep(
        build_runner(cfg),
        cfg,
        out=out,
        source=Built(benchmark),
        grid=grid(settings),
        name=name,
        say=say,
    )
    run.load()
    model = run.describe(
        config=str(cfg.filename), checkpoint=str(checkpoint), latency_ms=latency_ms
    )
    cells = run.run()
    run.record(model)
    run.paint(1)
    return summarise(cells, grid=grid(settings))
