"""What the options of ``adasap-prune`` choose."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from adasap_det.cli.common import UsageError
from adasap_det.pruning.budgets.budget import Budget
from adasap_det.pruning.importance import Importance
from adasap_det.registry import BUDGETS, IMPORTANCES
from adasap_det.utils.device import usable_device

DEFAULT_IMPORTANCE = 'MagnitudeImportance'
_BUDGETS = {'params': 'ParamsBudget', 'macs': 'MACsBudget', 'latency': 'LatencyBudget'}


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
