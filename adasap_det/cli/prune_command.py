"""The work of ``adasap-prune``: prune a checkpoint, or measure the sensitivity of its layers."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import track
from torch import nn

from adasap_det.checkpoint.loading import build_model, load_model, load_pruned, save_pruned
from adasap_det.cli.common import add_structure_hook, load_config, require_checkpoint
from adasap_det.cli.evaluated_sizes import WHOLE, evaluate_sizes, write_sizes
from adasap_det.cli.prune_options import (
    DEFAULT_IMPORTANCE,
    check_options,
    check_order_options,
    chosen_budget,
    chosen_budgets,
    chosen_device,
    chosen_importance,
    chosen_keep_ratios,
)
from adasap_det.cli.usage import UsageError
from adasap_det.datasets.missing_data import check_data
from adasap_det.pruning import Pruner, PruneResult, save_elastic
from adasap_det.pruning.all_sizes import RANGE_KEY, stored_ratios
from adasap_det.pruning.budgets.budget import Budget
from adasap_det.pruning.graph.channel_labels import OUTPUT
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.importance import Importance
from adasap_det.pruning.order import ORDER_KEY, RemovalOrder
from adasap_det.pruning.sensitivity import RATIOS, Sensitivity, plot_sensitivity, sensitivity
from adasap_det.utils.config_tree import iter_hooks, type_name
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.input_size import config_input_size
from adasap_det.utils.io import atomic_write
from adasap_det.utils.losses import batch_losses, mean_loss, some_batches
from adasap_det.utils.model_recalibration import recalibrate_model
from adasap_det.utils.random_state import RandomState, same_randomness
from adasap_det.utils.recalibration import running_norms
from adasap_det.utils.validation import validation_metric, validation_metrics

_RATIOS = {'params': 'keep_ratio', 'macs': 'macs_ratio', 'latency': 'latency_ratio'}


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    console = Console(stderr=True)
    check_options(args)
    importance = chosen_importance(args.importance or DEFAULT_IMPORTANCE)
    budgets = chosen_budgets(args)
    keep_ratios = chosen_keep_ratios(args.keep_ratios)
    device = chosen_device(args)
    cfg = load_config(args)
    if args.checkpoint is not None:
        require_checkpoint(args.checkpoint)
    losses_needed = args.sensitivity and args.metric is None
    batches_needed = losses_needed or importance.needs_gradients
    train_needed = batches_needed or args.recalibrate_batches > 0
    stages = [('train', train_needed), ('val', args.metric is not None or args.evaluate)]
    check_data(cfg, stages=tuple(stage for stage, needed in stages if needed))
    try:
        model, meta = (
            (build_model(cfg).eval(), {})
            if args.checkpoint is None
            else load_model(cfg, args.checkpoint)
        )
        model.to(device)
        size = config_input_size(cfg, args.input_size)
        trained = meta.get(ORDER_KEY) if args.importance is None else None
        check_order_options(args, trained)
        start = time.perf_counter()
        pruner = Pruner(
            model,
            example_image(size),
            importance=importance,
            budget=budgets[0]
            if budgets
            else chosen_budget(args, keep_ratio=0.5),  # only its kind counts
            exclude=args.exclude or (_hook_exclude(cfg) if trained else []),
            prune_blocks=args.prune_blocks,
            round_to=args.round_to,
            min_keep_ratio=args.min_keep_ratio,
            keep_ratios=keep_ratios,
        )
        order = trained and RemovalOrder.from_state_dict(trained, pruner.groups)
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
        if not budgets and not args.elastic:
            if args.dry_run:
                print(pruner.report())
            return
        console.print(_choice(importance, trained, ORDER_KEY in meta))
        if args.elastic:
            models = _write_elastic(args, cfg, pruner, order, meta, console)
        else:
            models = _write_sizes(args, cfg, pruner, budgets, order, meta, console)
        if args.evaluate:
            _evaluate(args, cfg, models, size, device, console)
    except ValueError as error:
        raise UsageError(error) from None


def _choice(importance: Importance, trained: Mapping[str, Any] | None, in_checkpoint: bool) -> str:
    """What says which channels go."""
    if not trained:
        unused = "; the checkpoint's order of removal is not used" if in_checkpoint else ''
        return f'which channels go: by {type(importance).__name__}{unused}'
    line = "which channels go: the checkpoint's order of removal"
    if RANGE_KEY not in trained:  # of save_elastic, by an importance
        return line
    least, largest = trained[RANGE_KEY]
    return f'{line}, trained at {least:g} to {largest:g} of the {trained["unit"]}'


def _hook_exclude(cfg: Config) -> Sequence[str]:
    """Layers that were not pruned in training, so that the groups are those of its order."""
    hooks = [hook for hook in iter_hooks(cfg) if type_name(hook) == 'PruningHook']
    return hooks[0].get('exclude', []) if hooks else []


def _write_sizes(
    args: argparse.Namespace,
    cfg: Config,
    pruner: Pruner,
    budgets: Sequence[Budget],
    order: RemovalOrder | None,
    meta: dict[str, Any],
    console: Console,
) -> dict[str, nn.Module]:
    """Prune to each budget, and write a checkpoint and a config of each, or only print them.

    Returns:
        The whole network and the sizes by name.
    """
    sizes = [_pruned(pruner, budget, order) for budget in budgets]
    if args.dry_run:
        for sized, _ in sizes:
            print(sized.report())
        return {}
    _say_what_is_re_estimated(args, pruner.model, console)
    files = []
    for sized, result in sizes:
        budget = sized.budget
        allowed = f'at most {budget.format(result.limit)} {budget.unit} allowed'
        console.print(f'{allowed}, {budget.format(result.cost)} reached')
        if order is not None:
            _warn_of_range(meta[ORDER_KEY], sized, result, console)
        _recalibrate(args, cfg, sized.model)
        sized.model.to('cpu')  # a checkpoint of GPU tensors would need that GPU
        suffix = f'_{_name(budget)}' if len(sizes) > 1 else ''
        checkpoint = Path(cfg.work_dir) / f'{Path(args.checkpoint).stem}_pruned{suffix}.pth'
        save_pruned(checkpoint, sized.model, meta=meta)
        config = checkpoint.with_name(f'{checkpoint.stem}.py')
        pruned_config(cfg, checkpoint).dump(config)
        files += [checkpoint, config]
    if len(sizes) == 1:
        console.print(sizes[0][0].report(), markup=False, highlight=False)
    print('\n'.join(map(str, files)))
    return {WHOLE: pruner.model} | {_name(sized.budget): sized.model for sized, _ in sizes}


def _pruned(
    pruner: Pruner, budget: Budget, order: RemovalOrder | None
) -> tuple[Pruner, PruneResult]:
    sized = pruner.copy()
    sized.budget = budget
    if order is None:
        return sized, sized.prune()
    return sized, sized.prune_to(budget.limit(sized.dense_costs['budget']), order=order)


def _name(budget: Budget) -> str:
    if budget.keep_ratio is not None:
        return f'{budget.keep_ratio:g}'
    return budget.format(float(budget.max_cost))  # type: ignore[arg-type]


def _warn_of_range(
    trained: Mapping[str, Any], sized: Pruner, result: PruneResult, console: Console
) -> None:
    if RANGE_KEY not in trained:
        return
    unit = trained['unit']
    key = {'parameters': 'params', 'MACs': 'macs'}.get(unit)
    if unit == sized.budget.unit:
        ratio = result.limit / result.dense
    elif key is not None:
        ratio = sized.costs()[key].cost() / sized.dense_costs[key]
    else:
        return
    least, largest = trained[RANGE_KEY]
    if not least <= round(ratio, 2) <= largest:
        console.print(
            f'warning: {ratio:.3g} of the {unit} lies outside of the sizes that were trained, '
            f'{least:g} to {largest:g}; the accuracy may be low'
        )


def _write_elastic(
    args: argparse.Namespace,
    cfg: Config,
    pruner: Pruner,
    order: RemovalOrder | None,
    meta: dict[str, Any],
    console: Console,
) -> dict[str, nn.Module]:
    """Write one file with all sizes.

    Returns:
        The whole network and the sizes whose statistics are stored, from the file, by name.
    """
    order = order or pruner.removal_order()
    ratios = args.keep_ratio or stored_ratios(order, pruner.costs()['budget'])
    _say_what_is_re_estimated(args, pruner.model, console)
    save_elastic(
        args.elastic,
        pruner,
        order,
        recalibrate=partial(_recalibrate, args, cfg) if args.recalibrate_batches else None,
        keep_ratios=ratios,
        meta=meta,
    )
    print(args.elastic)
    if not args.evaluate:
        return {}
    chosen: dict[str, dict[str, Any]] = {WHOLE: {}}
    chosen |= {f'{r:g}': {_RATIOS[args.budget]: r} for r in ratios if r < 1}
    return {
        name: load_pruned(copy_unwrapped(pruner.model), args.elastic, **ratio)
        for name, ratio in chosen.items()
    }


def _evaluate(
    args: argparse.Namespace,
    cfg: Config,
    models: Mapping[str, nn.Module],
    size: tuple[int, int],
    device: torch.device,
    console: Console,
) -> None:
    rows = evaluate_sizes(
        {name: model.to(device) for name, model in models.items()},
        validation_metrics(cfg),
        input_size=size,
        device=device,
    )
    out = Path(cfg.work_dir)
    table, files = write_sizes(rows, out, metric=args.metric, input_size=size, device=device)
    console.print(table)
    print('\n'.join(map(str, files)))


def _recalibrate(args: argparse.Namespace, cfg: Config, model: nn.Module) -> None:
    if args.recalibrate_batches and running_norms(model):
        recalibrate_model(model, cfg.train_dataloader, batches=args.recalibrate_batches)


def _say_what_is_re_estimated(args: argparse.Namespace, model: nn.Module, console: Console) -> None:
    layers, batches = len(running_norms(model)), args.recalibrate_batches
    if layers and batches:
        console.print(f're-estimating {layers} batch norm layers on {batches} training batches')
    elif layers:
        console.print(
            'the batch norm statistics are those of the network before; to test without '
            'fine-tuning, re-estimate them: --recalibrate-batches 40'
        )
    elif batches:
        console.print('the network has no batch norm statistics to re-estimate')


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
