"""``adasap-prune``: prune a trained checkpoint at once, or see which layers can bear it."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from adasap_det.checkpoint.loading import load_model, save_pruned
from adasap_det.checkpoint.structure import META_KEY
from adasap_det.cli.common import (
    UsageError,
    add_common_options,
    add_structure_hook,
    load_config,
    report_usage_errors,
    require_checkpoint,
)
from adasap_det.datasets.missing_data import check_data
from adasap_det.pruning import count_macs, count_params, find_channel_groups
from adasap_det.pruning.graph.channel_group import ChannelAnalysis
from adasap_det.pruning.importance import Importance
from adasap_det.pruning.one_shot import observe_gradients, prune_once
from adasap_det.pruning.sensitivity import SHARES, Sensitivity, sensitivity
from adasap_det.pruning.sensitivity_plot import plot_sensitivity
from adasap_det.registry import BUDGETS, IMPORTANCES
from adasap_det.utils.config_tree import type_name
from adasap_det.utils.device import usable_device
from adasap_det.utils.input_size import config_input_size
from adasap_det.utils.io import atomic_write
from adasap_det.utils.losses import batch_losses, mean_loss, some_batches
from adasap_det.utils.random import RandomState, same_randomness
from adasap_det.utils.validation import validation_metric

_BUDGETS = {'params': 'ParamsBudget', 'macs': 'MACsBudget', 'latency': 'LatencyBudget'}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    return report_usage_errors('adasap-prune', lambda: _prune(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-prune',
        description='Prune a trained checkpoint without training. Writes the pruned checkpoint and '
        'a config that tests or fine-tunes it.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument('checkpoint', help='trained checkpoint, dense or pruned before')
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        '--keep-ratio', type=float, metavar='SHARE', help='share that remains, as 0.4'
    )
    amount.add_argument(
        '--max-cost', metavar='AMOUNT', help="amount that remains, as '8 ms', '3 M'"
    )
    parser.add_argument(
        '--budget',
        choices=list(_BUDGETS),
        default='params',
        help='what is limited (default: params)',
    )
    parser.add_argument(
        '--importance',
        default='MagnitudeImportance',
        metavar='TYPE',
        help=f'criterion (default: MagnitudeImportance): {", ".join(_names())}',
    )
    parser.add_argument('--round-to', type=int, default=8, help='channels are multiples of (8)')
    parser.add_argument(
        '--min-keep-ratio',
        type=float,
        default=0.1,
        help='share of each group that always stays (0.1)',
    )
    parser.add_argument(
        '--exclude', nargs='+', default=[], metavar='PATTERN', help='layers that stay whole'
    )
    parser.add_argument(
        '--input-size',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="pixels (default: of the config's training pipeline)",
    )
    parser.add_argument(
        '--batches',
        type=int,
        default=8,
        help='training batches for a criterion of gradients and for the sensitivity (8)',
    )
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images at a time that latency refers to (1)'
    )
    parser.add_argument('--table', metavar='JSON', help='latency table (default: in ~/.cache)')
    parser.add_argument(
        '--device', default='cpu', help='cpu (default) or cuda; latency is that of this device'
    )
    parser.add_argument(
        '--sensitivity',
        action='store_true',
        help='measure the loss with each group cut alone: sensitivity.json and sensitivity.svg',
    )
    parser.add_argument(
        '--metric',
        metavar='NAME',
        help="measure this metric on the validation data instead, as 'pascal_voc/AP50' (fewer "
        'images: --cfg-options val_dataloader.dataset.indices=200)',
    )
    parser.add_argument(
        '--out',
        '--work-dir',
        dest='work_dir',
        metavar='DIR',
        help='folder of the results (default: work_dirs/<config>)',
    )
    add_common_options(parser)
    return parser


def _names() -> list[str]:
    IMPORTANCES.import_from_location()
    return sorted(IMPORTANCES.module_dict)


def _prune(args: argparse.Namespace) -> None:
    console = Console(stderr=True)
    if args.keep_ratio is None and args.max_cost is None and not args.sensitivity:
        raise UsageError(
            'say what remains with --keep-ratio or --max-cost, or ask for --sensitivity'
        )
    if args.metric is not None and not args.sensitivity:
        raise UsageError('--metric says what --sensitivity measures; give both')
    if args.round_to < 1 or args.batches < 1:
        raise UsageError('--round-to and --batches must be at least 1')
    if not 0 <= args.min_keep_ratio < 1:
        raise UsageError(f'--min-keep-ratio must lie in [0, 1), got {args.min_keep_ratio}')
    importance = _importance(args.importance)
    budget = _budget(args)
    device = _device(args)
    cfg = load_config(args)
    require_checkpoint(args.checkpoint)
    losses_needed = args.sensitivity and args.metric is None
    batches_needed = losses_needed or importance.needs_gradients
    stages = [('train', batches_needed), ('val', args.metric is not None)]
    check_data(cfg, stages=tuple(stage for stage, needed in stages if needed))
    try:
        model, meta = load_model(cfg, args.checkpoint)
        model.to(device)
        size = config_input_size(cfg, args.input_size)
        analysis = find_channel_groups(model, input_size=size, exclude=args.exclude)
        batches = some_batches(cfg, args.batches) if batches_needed else []
        if importance.needs_gradients:
            observe_gradients(importance, analysis, model, batch_losses(model, batches))
        out = Path(cfg.work_dir)
        if args.sensitivity:
            measure = (
                partial(mean_loss, batches=batches)
                if args.metric is None
                else validation_metric(cfg, args.metric)
            )
            _write_sensitivity(args, model, analysis, importance, measure, out, console)
        if budget is None:
            return
        dense = copy.deepcopy(model)
        result = prune_once(
            model,
            analysis,
            importance=importance,
            budget=budget,
            input_size=size,
            round_to=args.round_to,
            min_keep_ratio=args.min_keep_ratio,
            before=meta.get(META_KEY),
        )
    except ValueError as error:
        raise UsageError(error) from None
    model.to('cpu')  # a checkpoint of a GPU's tensors would ask for that GPU
    checkpoint = out / f'{Path(args.checkpoint).stem}_pruned.pth'
    save_pruned(checkpoint, model, meta=meta, structure=result.structure)
    config = checkpoint.with_suffix('.py')
    pruned_config(cfg, checkpoint).dump(config)
    console.print(_table(dense.to('cpu'), model, size, budget, result))
    print(f'{checkpoint}\n{config}')


def _importance(kind: str) -> Importance:
    if kind not in _names():
        raise UsageError(f'--importance {kind!r} is unknown; there are {", ".join(_names())}')
    return IMPORTANCES.get(kind)()


def _budget(args: argparse.Namespace) -> Any:
    if args.keep_ratio is None and args.max_cost is None:
        return None
    options = {'keep': args.keep_ratio, 'max_cost': args.max_cost}
    if args.by == 'latency':
        options |= {'batch_size': args.batch_size, 'table': args.table}
    try:
        return BUDGETS.get(_BUDGETS[args.by])(**options)
    except ValueError as error:
        raise UsageError(error) from None


def _device(args: argparse.Namespace) -> torch.device:
    try:
        return usable_device(args.device)
    except ValueError as error:
        raise UsageError(error) from None


def pruned_config(cfg: Config, checkpoint: Path) -> Config:
    """A config that loads a pruned checkpoint, to test it or to train it on without more cuts.

    It has no work_dir, so that fine-tuning gets a folder of its own: in the dense run's it would
    write over the dense checkpoints, and resume from them.
    """
    pruned = copy.deepcopy(cfg)
    for key in ('work_dir', 'launcher'):  # of this command, or of the dense run
        pruned.pop(key, None)
    pruned.load_from, pruned.resume = str(checkpoint.resolve()), False
    hooks = [h for h in cfg.get('custom_hooks') or [] if type_name(h) != 'PruningHook']
    pruned.custom_hooks = hooks
    add_structure_hook(pruned)
    imports = pruned.get('custom_imports') or {}
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else [*names]
    pruned.custom_imports = dict(
        imports=[*dict.fromkeys([*names, 'adasap_det'])],
        allow_failed_imports=imports.get('allow_failed_imports', False),
    )
    return pruned


def _write_sensitivity(
    args: argparse.Namespace,
    model: nn.Module,
    analysis: ChannelAnalysis,
    importance: Importance,
    measure: Callable[[nn.Module], float],
    out: Path,
    console: Console,
) -> None:
    name = args.metric or 'loss'
    state = RandomState.capture()

    def repeatable(model: nn.Module) -> float:
        with same_randomness(state):  # two-stage heads draw the samples of their loss
            return measure(model)

    whole = repeatable(model)
    found: list[Sensitivity] = list(
        track(
            sensitivity(model, analysis.groups, importance, repeatable, round_to=args.round_to),
            total=len(SHARES) * len(analysis.groups),
            description='cutting each group alone',
            console=console,
        )
    )
    content = {name: whole, 'groups': [dataclasses.asdict(row) for row in found]}
    with atomic_write(out / 'sensitivity.json') as temporary:
        temporary.write_text(json.dumps(content, indent=1), 'utf-8')
    plot_sensitivity(found, out / 'sensitivity.svg', whole=whole, label=name)
    print(f'{out / "sensitivity.json"}\n{out / "sensitivity.svg"}')


def _table(dense: nn.Module, pruned: nn.Module, size: Any, budget: Any, result: Any) -> Table:
    table = Table(title=f'asked for at most {budget.written(result.asked)} {budget.unit}')
    for head in ('', 'before', 'after', 'share'):
        table.add_column(head, justify='right' if head else 'left')
    counts = {
        'parameters': [count_params(m) for m in (dense, pruned)],
        'MACs': [count_macs(m, input_size=size) for m in (dense, pruned)],
    }
    for name, (before, after) in counts.items():
        table.add_row(name, f'{before:,}', f'{after:,}', f'{after / before:.1%}')
    if budget.unit == 'latency':
        table.add_row(
            'latency, predicted',
            budget.written(result.dense),
            budget.written(result.reached),
            f'{result.reached / result.dense:.1%}',
        )
    return table


if __name__ == '__main__':
    sys.exit(main())
