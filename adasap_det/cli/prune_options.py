"""The options of ``adasap-prune``, and what they choose."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from adasap_det.cli.common import UsageError, add_common_options
from adasap_det.pruning.budgets.budget import Budget
from adasap_det.pruning.importance import Importance
from adasap_det.registry import BUDGETS, IMPORTANCES
from adasap_det.utils.device import usable_device

DEFAULT_IMPORTANCE = 'MagnitudeImportance'
_BUDGETS = {'params': 'ParamsBudget', 'macs': 'MACsBudget', 'latency': 'LatencyBudget'}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
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
        '--keep-ratio',
        nargs='+',
        type=float,
        default=[],
        metavar='RATIO',
        help='ratio that remains, as 0.4; several give several networks, each pruned from the '
        'checkpoint',
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
        metavar='TYPE',
        help="criterion (default: the checkpoint's order of removal, where the elastic stage has "
        f'left one, else {DEFAULT_IMPORTANCE}): {", ".join(importance_names())}',
    )
    parser.add_argument(
        '--prune-blocks',
        action='store_true',
        help='residual blocks and transformer layers may be removed as a whole',
    )
    parser.add_argument(
        '--round-to',
        type=int,
        default=8,
        help='channels are multiples of (8); an order of removal in the checkpoint has its own',
    )
    parser.add_argument(
        '--min-keep-ratio',
        type=float,
        default=0.1,
        help='ratio of each group that always stays (0.1); an order of removal in the checkpoint '
        'has its own',
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
        '--exclude',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help="layers that are not pruned (with an order of removal: those of the config's "
        'PruningHook)',
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
        '--elastic',
        metavar='FILE',
        help='write one file that load_pruned takes any size from, instead of a checkpoint a '
        'size; --keep-ratio are then the sizes that batch norm statistics are stored of (1.0 0.8 '
        '0.6 0.5 0.4 0.3 0.2)',
    )
    parser.add_argument(
        '--evaluate',
        action='store_true',
        help='evaluate each size and the whole network on the validation data: a table, '
        'sizes.json and sizes.svg',
    )
    parser.add_argument(
        '--sensitivity',
        action='store_true',
        help='measure the loss with each group pruned alone: sensitivity.json and sensitivity.svg',
    )
    parser.add_argument(
        '--metric',
        metavar='NAME',
        help="metric on the validation data, as 'pascal_voc/AP50': of --sensitivity instead of "
        'the loss, of --evaluate instead of the first one (fewer images: --cfg-options '
        'val_dataloader.dataset.indices=200)',
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


def importance_names() -> list[str]:
    """Registered criteria."""
    IMPORTANCES.import_from_location()
    return sorted(IMPORTANCES.module_dict)


def check_options(args: argparse.Namespace) -> None:
    """Check that the options go together.

    Raises:
        UsageError: If not.
    """
    if args.dry_run and args.sensitivity:
        raise UsageError('--dry-run and --sensitivity exclude each other; give one of them')
    sized = bool(args.keep_ratio or args.max_cost is not None or args.elastic)
    if not sized and not args.sensitivity and not args.dry_run:
        raise UsageError('give --keep-ratio, --max-cost, --elastic, --sensitivity or --dry-run')
    if args.elastic and (args.max_cost is not None or args.dry_run or args.sensitivity):
        raise UsageError('--elastic goes without --max-cost, --dry-run and --sensitivity')
    if args.evaluate and (not sized or args.dry_run):
        raise UsageError('--evaluate needs a size, as --keep-ratio 0.4, and goes without --dry-run')
    if args.checkpoint is None and not args.dry_run:
        raise UsageError('give a checkpoint, or --dry-run to do without')
    if args.metric is not None and not (args.sensitivity or args.evaluate):
        raise UsageError('--metric is for --sensitivity and --evaluate; give one of them too')
    if args.round_to < 1 or args.batches < 1:
        raise UsageError('--round-to and --batches must be at least 1')
    if args.recalibrate_batches < 0:
        raise UsageError(
            f'--recalibrate-batches must be at least 0, got {args.recalibrate_batches}'
        )
    if not 0 <= args.min_keep_ratio < 1:
        raise UsageError(f'--min-keep-ratio must lie in [0, 1), got {args.min_keep_ratio}')


def check_order_options(args: argparse.Namespace, trained: Mapping[str, Any] | None) -> None:
    """Check that the options leave the order of removal to itself.

    Args:
        args: The options.
        trained: The order in the checkpoint, if it is used.

    Raises:
        UsageError: If not.
    """
    if not (args.keep_ratios or args.prune_blocks):
        return
    if args.elastic:
        raise UsageError(
            '--elastic has one order of removal for all channels; leave out '
            '--keep-ratios and --prune-blocks'
        )
    if trained:
        raise UsageError(
            "the checkpoint's order of removal leaves no choice to --keep-ratios and "
            '--prune-blocks; give --importance to select without it'
        )


def chosen_importance(kind: str) -> Importance:
    """A criterion by its name."""
    if kind not in importance_names():
        raise UsageError(
            f'--importance {kind!r} is unknown; there are {", ".join(importance_names())}'
        )
    return IMPORTANCES.get(kind)()


def chosen_budgets(args: argparse.Namespace) -> list[Budget]:
    """One budget for each size to prune to."""
    if args.elastic:
        return []
    if args.max_cost is not None:
        return [chosen_budget(args, max_cost=args.max_cost)]
    return [chosen_budget(args, keep_ratio=ratio) for ratio in dict.fromkeys(args.keep_ratio)]


def chosen_budget(args: argparse.Namespace, **target: Any) -> Budget:
    """A budget of the kind that is chosen."""
    if args.budget == 'latency':
        target |= {'batch_size': args.batch_size, 'table': args.table}
    try:
        return BUDGETS.get(_BUDGETS[args.budget])(**target)
    except ValueError as error:
        raise UsageError(error) from None


def chosen_keep_ratios(given: Sequence[str]) -> dict[str, float]:
    """Ratio by pattern."""
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


def chosen_device(args: argparse.Namespace) -> torch.device:
    """The device, if it can be used."""
    try:
        return usable_device(args.device)
    except ValueError as error:
        raise UsageError(error) from None
