"""``adasap-prune``: prune a trained checkpoint at once, or measure each layer's sensitivity."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import track
from torch import nn

from adasap_det.checkpoint.loading import build_model, load_model, save_pruned
from adasap_det.cli.common import (
    UsageError,
    add_common_options,
    add_structure_hook,
    load_config,
    report_usage_errors,
    require_checkpoint,
)
from adasap_det.datasets.missing_data import check_data
from adasap_det.pruning import ParamsBudget, Pruner
from adasap_det.pruning.graph.channel_labels import OUTPUT
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.importance import Importance
from adasap_det.pruning.sensitivity import RATIOS, Sensitivity, plot_sensitivity, sensitivity
from adasap_det.registry import BUDGETS, IMPORTANCES
from adasap_det.utils.config_tree import iter_hooks, type_name
from adasap_det.utils.device import usable_device
from adasap_det.utils.input_size import config_input_size
from adasap_det.utils.io import atomic_write
from adasap_det.utils.losses import batch_losses, mean_loss, some_batches
from adasap_det.utils.model_recalibration import recalibrate_model
from adasap_det.utils.random_state import RandomState, same_randomness
from adasap_det.utils.recalibration import running_norms
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
        'a config to test or fine-tune it. With --dry-run it only prints what would be pruned.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='trained checkpoint, dense or pruned; --dry-run does without (random weights)',
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        '--keep-ratio', type=float, metavar='RATIO', help='ratio that remains, as 0.4'
    )
    amount.add_argument(
        '--max-cost', metavar='AMOUNT', help="amount that remains, as '8 ms', '3 M'"
    )
    parser.add_argument(
        '--budget',
        choices=list(_BUDGETS),
        default='params',
        help='what is limited (params)',
    )
    parser.add_argument(
        '--importance',
        default='MagnitudeImportance',
        metavar='TYPE',
        help=f'criterion (default: MagnitudeImportance): {", ".join(_names())}',
    )
    parser.add_argument(
        '--prune-blocks',
        action='store_true',
        help='residual blocks and transformer layers may be removed as a whole',
    )
    parser.add_argument('--round-to', type=int, default=8, help='channels are multiples of (8)')
    parser.add_argument(
        '--min-keep-ratio',
        type=float,
        default=0.1,
        help='ratio of each group that always stays (0.1)',
    )
    parser.add_argument(
        '--keep-ratios',
        nargs='+',
        default=[],
        metavar='PATTERN=RATIO',
        help="ratio of the channels that remains in these layers, as 'backbone.*=0.7'; the others "
        'share what the budget leaves',
    )
    parser.add_argument(
        '--exclude', nargs='+', default=[], metavar='PATTERN', help='layers that are not pruned'
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
        help='training batches for an importance that needs gradients and for the sensitivity (8)',
    )
    parser.add_argument(
        '--recalibrate-batches',
        type=int,
        default=0,
        metavar='N',
        help='training batches to re-estimate the batch norm statistics on after pruning, as 40 '
        '(0: they stay those of the network before)',
    )
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images per batch that latency refers to (1)'
    )
    parser.add_argument('--table', metavar='JSON', help='latency table (default: in ~/.cache)')
    parser.add_argument(
        '--device', default='cpu', help='cpu (default) or cuda; latency is that of this device'
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='print what can be pruned, what is skipped and why, and the cost before and after; '
        'write nothing',
    )
    parser.add_argument(
        '--sensitivity',
        action='store_true',
        help='measure the loss with each group pruned alone: sensitivity.json and sensitivity.svg',
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
    if args.dry_run and args.sensitivity:
        raise UsageError('--dry-run and --sensitivity exclude each other; give one of them')
    unlimited = args.keep_ratio is None and args.max_cost is None
    if unlimited and not args.sensitivity and not args.dry_run:
        raise UsageError('give --keep-ratio, --max-cost, --sensitivity or --dry-run')
    if args.checkpoint is None and not args.dry_run:
        raise UsageError('give a checkpoint, or --dry-run to do without')
    if args.metric is not None and not args.sensitivity:
        raise UsageError('--metric is for --sensitivity; give both')
    if args.round_to < 1 or args.batches < 1:
        raise UsageError('--round-to and --batches must be at least 1')
    if args.recalibrate_batches < 0:
        raise UsageError(
            f'--recalibrate-batches must be at least 0, got {args.recalibrate_batches}'
        )
    if not 0 <= args.min_keep_ratio < 1:
        raise UsageError(f'--min-keep-ratio must lie in [0, 1), got {args.min_keep_ratio}')
    importance = _importance(args.importance)
    budget = _budget(args)
    keep_ratios = _keep_ratios(args.keep_ratios)
    device = _device(args)
    cfg = load_config(args)
    if args.checkpoint is not None:
        require_checkpoint(args.checkpoint)
    losses_needed = args.sensitivity and args.metric is None
    batches_needed = losses_needed or importance.needs_gradients
    train_needed = batches_needed or args.recalibrate_batches > 0
    stages = [('train', train_needed), ('val', args.metric is not None)]
    check_data(cfg, stages=tuple(stage for stage, needed in stages if needed))
    try:
        model, meta = (
            (build_model(cfg).eval(), {})
            if args.checkpoint is None
            else load_model(cfg, args.checkpoint)
        )
        model.to(device)
        size = config_input_size(cfg, args.input_size)
        start = time.perf_counter()
        pruner = Pruner(
            model,
            example_image(size),
            importance=importance,
            budget=budget or ParamsBudget(keep_ratio=0.5),  # a sensitivity needs none
            exclude=args.exclude,
            prune_blocks=args.prune_blocks,
            round_to=args.round_to,
            min_keep_ratio=args.min_keep_ratio,
            keep_ratios=keep_ratios,
        )
        if args.dry_run:
            print(_findings(pruner, size, time.perf_counter() - start))
        batches = some_batches(cfg, args.batches) if batches_needed else []
        if importance.needs_gradients:
            pruner.observe_losses(batch_losses(model, batches))
        out = Path(cfg.work_dir)
        if args.sensitivity:
            measure = (
                partial(mean_loss, batches=batches)
                if args.metric is None
                else validation_metric(cfg, args.metric)
            )
            _write_sensitivity(args, pruner, measure, out, console)
        if budget is not None:
            result = pruner.prune()
            if not args.dry_run:
                _recalibrate(args, cfg, model, console)
    except ValueError as error:
        raise UsageError(error) from None
    if args.dry_run:
        print(pruner.report())
    if args.dry_run or budget is None:
        return
    model.to('cpu')  # a checkpoint of GPU tensors would need that GPU
    checkpoint = out / f'{Path(args.checkpoint).stem}_pruned.pth'
    save_pruned(checkpoint, model, meta=meta)
    config = checkpoint.with_suffix('.py')
    pruned_config(cfg, checkpoint).dump(config)
    allowed = f'at most {budget.format(result.limit)} {budget.unit} allowed'
    console.print(f'{allowed}, {budget.format(result.cost)} reached')
    console.print(pruner.report(), markup=False, highlight=False)
    print(f'{checkpoint}\n{config}')


def _recalibrate(args: argparse.Namespace, cfg: Config, model: nn.Module, console: Console) -> None:
    layers, batches = len(running_norms(model)), args.recalibrate_batches
    if layers and batches:
        console.print(f're-estimating {layers} batch norm layers on {batches} training batches')
        recalibrate_model(model, cfg.train_dataloader, batches=batches)
    elif layers:
        console.print(
            'the batch norm statistics are those of the network before; to test without '
            'fine-tuning, re-estimate them: --recalibrate-batches 40'
        )


def _findings(pruner: Pruner, size: tuple[int, int], seconds: float) -> str:
    """What the analysis found, a fact a line."""
    skipped = [why for why in pruner.skipped.values() if not why.endswith(OUTPUT)]
    facts = {
        'input size': f'{size[0]} x {size[1]} pixels',
        'channel groups': f'{len(pruner.groups)}',
        'permutation error': f'{pruner.permutation_error:.1e} of the outputs, in float64',
        'layers skipped': f'{len(skipped)}, and {len(pruner.skipped) - len(skipped)} output layers',
        'analysis': f'{seconds:.1f} s',
    }
    return '\n'.join(f'{name:18} {fact}' for name, fact in facts.items()) + '\n'


def _importance(kind: str) -> Importance:
    if kind not in _names():
        raise UsageError(f'--importance {kind!r} is unknown; there are {", ".join(_names())}')
    return IMPORTANCES.get(kind)()


def _budget(args: argparse.Namespace) -> Any:
    if args.keep_ratio is None and args.max_cost is None:
        return None
    options = {'keep_ratio': args.keep_ratio, 'max_cost': args.max_cost}
    if args.budget == 'latency':
        options |= {'batch_size': args.batch_size, 'table': args.table}
    try:
        return BUDGETS.get(_BUDGETS[args.budget])(**options)
    except ValueError as error:
        raise UsageError(error) from None


def _keep_ratios(given: Sequence[str]) -> dict[str, float]:
    ratios = {}
    for each in given:
        pattern, _, ratio = each.rpartition('=')
        try:
            ratios[pattern] = float(ratio)
        except ValueError:
            pattern = ''
        if not pattern:
            raise UsageError(
                f"--keep-ratios takes PATTERN=RATIO, as 'backbone.*=0.7', got {each!r}"
            )
    return ratios


def _device(args: argparse.Namespace) -> torch.device:
    try:
        return usable_device(args.device)
    except ValueError as error:
        raise UsageError(error) from None


def pruned_config(cfg: Config, checkpoint: Path) -> Config:
    """A config that loads a pruned checkpoint, to test or fine-tune it without further pruning.

    It has no work_dir, so that fine-tuning gets a folder of its own: in the dense run's it would
    overwrite the dense checkpoints and resume from them.
    """
    pruned = copy.deepcopy(cfg)
    for key in ('work_dir', 'launcher'):  # of this command, or of the dense run
        pruned.pop(key, None)
    pruned.load_from, pruned.resume = str(checkpoint.resolve()), False
    for hook in [*iter_hooks(pruned)]:
        if type_name(hook) == 'PruningHook':
            _remove_hook(pruned, hook)
    add_structure_hook(pruned)
    imports = pruned.get('custom_imports') or {}
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else [*names]
    pruned.custom_imports = dict(
        imports=[*dict.fromkeys([*names, 'adasap_det'])],
        allow_failed_imports=imports.get('allow_failed_imports', False),
    )
    return pruned


def _remove_hook(cfg: Config, hook: Any) -> None:
    named = cfg.get('default_hooks') or {}
    for name in [name for name, each in named.items() if each is hook]:
        del named[name]
    cfg.custom_hooks = [each for each in cfg.get('custom_hooks') or [] if each is not hook]


def _write_sensitivity(
    args: argparse.Namespace,
    pruner: Pruner,
    measure: Callable[[nn.Module], float],
    out: Path,
    console: Console,
) -> None:
    name = args.metric or 'loss'
    state = RandomState.capture()

    def repeatable(model: nn.Module) -> float:
        with same_randomness(state):  # two-stage heads sample in their loss
            return measure(model)

    model, importance = pruner.model, pruner.importance
    full = repeatable(model)
    found: list[Sensitivity] = list(
        track(
            sensitivity(model, pruner.groups, importance, repeatable, round_to=args.round_to),
            total=len(RATIOS) * len(pruner.groups),
            description='pruning each group alone',
            console=console,
        )
    )
    content = {name: full, 'groups': [dataclasses.asdict(row) for row in found]}
    with atomic_write(out / 'sensitivity.json') as temporary:
        temporary.write_text(json.dumps(content, indent=1), 'utf-8')
    plot_sensitivity(found, out / 'sensitivity.svg', full=full, label=name)
    print(f'{out / "sensitivity.json"}\n{out / "sensitivity.svg"}')


if __name__ == '__main__':
    sys.exit(main())
