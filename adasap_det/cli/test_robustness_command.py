"""The work of ``adasap-test-robustness``: evaluate a checkpoint on clean and corrupted images."""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from rich.console import Console
from rich.table import Table

from adasap_det.cli.common import add_structure_hook, build_runner, load_config, require_checkpoint
from adasap_det.cli.usage import UsageError
from adasap_det.datasets.missing_data import check_data
from adasap_det.robustness.benchmark import BenchmarkError
from adasap_det.robustness.corruption_error import (
    imagenet_corruption_error,
    why_no_corruption_error,
)
from adasap_det.robustness.corruptions import check_corruptions, check_severities
from adasap_det.robustness.evaluation.task import task_of
from adasap_det.robustness.metrics import FULL_GRID, Robustness, percent, ratio, summarise
from adasap_det.robustness.results import CLEAN, Cell, CellKey, ModelInfo, ShiftedSet, load_results


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    # mmdet warns at every import about a metric that is not used here.
    warnings.filterwarnings('ignore', message='faster_coco_eval')
    try:
        corruptions = check_corruptions(args.corruptions)
        severities = check_severities(args.severities)
    except ValueError as error:
        raise UsageError(error) from None
    if '://' in args.checkpoint:
        raise UsageError(
            f'checkpoint {args.checkpoint!r} is a URL; results refer to a local file: download it '
            'and pass its path'
        )
    require_checkpoint(args.checkpoint)
    name = args.name or default_name(args.checkpoint)
    # Replace characters that are not allowed in file names on some systems.
    folder = re.sub(r'[^\w.%+-]+', '-', name).strip('-.') or 'model'
    out = Path(args.out or Path(args.checkpoint).parent / 'robustness' / folder)
    if out.exists() and not out.is_dir():
        raise UsageError(f'--out {str(out)!r} is a file; pass a folder')
    args.work_dir = str(out / 'log')
    cfg = load_config(args)
    try:
        args.metric = task_of(cfg).check_metric(args.metric)
    except ValueError as error:
        raise UsageError(error) from None
    cfg.load_from, cfg.resume = args.checkpoint, False
    if not args.verbose:
        cfg.log_level = 'WARNING'
    if not cfg.get('test_dataloader'):
        raise UsageError(f'config {args.config!r} has no test_dataloader; add one to evaluate on')
    add_structure_hook(cfg)
    check_data(cfg, stages=('test',))
    others = _shifted_configs(args)
    try:
        cells = _sweep(
            args, cfg, others, out=out, name=name, corruptions=corruptions, severities=severities
        )
        if not is_main_process():
            return
        grid = [key for key in FULL_GRID if key in cells] or [key for key in cells if key != CLEAN]
        results = load_results(out)
        _show(summarise(cells, metric=args.metric, grid=grid), args.metric, name, results.shifted)
        _show_corruption_error(cells, results.model)
        if args.report is not None:
            _report([*args.report, str(out)], out, args.metric)
    except (BenchmarkError, ValueError) as error:
        raise UsageError(error) from error
    print(f'Results: {out}')
    if args.report is None:
        print(f'Compare models: python tools/robustness_report.py {out} OTHER --out report')


def _shifted_configs(args: argparse.Namespace) -> dict[str, tuple[str, Config]]:
    """Load the configs of ``--shifted`` by name and check that their data exist."""
    found: dict[str, tuple[str, Config]] = {}
    for text in args.shifted:
        name, equals, path = text.partition('=')
        if not (equals and name and path):
            raise UsageError(
                f'--shifted {text!r}: expected NAME=CONFIG, such as V2=path/to/config.py'
            )
        if name in found:
            raise UsageError(
                f'--shifted: {name!r} is given twice; use a different name for each set'
            )
        other = argparse.Namespace(**{**vars(args), 'config': path, 'cfg_options': None})
        cfg = load_config(other)
        if not cfg.get('test_dataloader'):
            raise UsageError(f'config {path!r} has no test_dataloader; add one to evaluate on')
        check_data(cfg, stages=('test',))
        found[name] = (path, cfg)
    return found


def _sweep(
    args: argparse.Namespace,
    cfg: Config,
    others: Mapping[str, tuple[str, Config]],
    *,
    out: Path,
    name: str,
    corruptions: tuple[str, ...],
    severities: tuple[int, ...],
) -> dict[CellKey, Cell]:
    from adasap_det.robustness.evaluation.cell_data import OnTheFly, open_benchmark
    from adasap_det.robustness.evaluation.shifted import evaluate_shifted
    from adasap_det.robustness.evaluation.sweep import Sweep

    source = open_benchmark(args.benchmark) if args.benchmark else OnTheFly(seed=args.seed)
    grid: list[CellKey] = [(c, s) for c in corruptions for s in severities]
    runner = build_runner(cfg)
    sweep = Sweep(
        runner, cfg, out=out, source=source, grid=grid, name=name, per_image=args.per_image
    )
    sweep.load()
    model = sweep.describe(config=args.config, checkpoint=args.checkpoint)
    cells = sweep.run()
    sweep.record(model)
    if others:
        evaluate_shifted(sweep, others, num_classes=len(model.dataset.classes))
    sweep.paint(args.images)
    return cells


def default_name(checkpoint: str) -> str:
    """Return the folder name and stem of a checkpoint: ``ssd_voc_adasap epoch_24``."""
    path = Path(os.path.abspath(checkpoint))
    return f'{path.parent.name} {path.stem}'


def _show(summary: Robustness, metric: str, name: str, shifted: Sequence[ShiftedSet]) -> None:
    cells = len(summary.per_corruption) * len(summary.per_severity)
    complete = cells == len(FULL_GRID)
    table = Table(title=f'{name}: {metric} in %, mean over the severities')
    table.add_column('corruption')
    table.add_column(metric, justify='right')
    for corruption, value in summary.per_corruption.items():
        table.add_row(corruption, percent(value))
    table.add_section()
    table.add_row('clean (P)', percent(summary.p))
    table.add_row('mPC' if complete else f'mean of {cells} of 75 cells', percent(summary.mpc))
    table.add_row('rPC' if complete else 'mean / P', percent(summary.rpc))
    for other in shifted:
        value = other.metrics.get(metric)
        table.add_section()
        table.add_row(other.name, percent(value))
        table.add_row(f'R_{other.name}', percent(ratio(value, summary.p)))
    Console().print(table)


def _show_corruption_error(cells: Mapping[CellKey, Cell], model: ModelInfo) -> None:
    reason = why_no_corruption_error(model)
    if reason is not None and set(FULL_GRID) <= cells.keys():
        print(reason)
    error = imagenet_corruption_error(cells, model)
    if error is not None:
        relative = percent(error.relative_mce)
        print(f'mCE {percent(error.mce)}, relative mCE {relative} (AlexNet: 100)')


def _report(folders: Sequence[str], out: Path, metric: str) -> None:
    from adasap_det.robustness.report import write_report

    page = write_report([load_results(folder) for folder in folders], out, metric=metric)
    print(f'Report: {page}')
