"""Write one file with all sizes that an order of removal gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adasap_det.checkpoint.elastic_file import MACS, PARAMETERS, SIZES_FORMAT, SIZES_KEY
from adasap_det.checkpoint.loading import checkpoint_of
from adasap_det.checkpoint.structure import META_KEY, named_tensors, saved_tensors
from adasap_det.utils.io import atomic_write
from adasap_det.utils.recalibration import running_norms

from .budgets.budget import LayeredCost
from .graph.channel_group import ChannelGroup
from .order import ORDER_KEY, RemovalOrder
from .pruner import Pruner

RANGE_KEY = 'keep_ratio_range'
"""Key of the sizes that were trained, beside the order of the elastic stage in a checkpoint."""

STORED_RATIOS = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Sizes whose batch norm statistics a file has by default, as far as they can be reached."""


def save_elastic(
    path: str | Path,
    pruner: Pruner,
    order: RemovalOrder,
    *,
    recalibrate: Callable[[nn.Module], object] | None = None,
    keep_ratios: Sequence[float] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write one file from which ``load_pruned`` takes any size, in a moment and without tracing.

    It is a checkpoint of the whole network, with the order of removal beside it::

        order = pruner.removal_order()
        save_elastic('sizes.pth', pruner, order, recalibrate=lambda model: recalibrate(
            model, loader, forward=lambda model, batch: model(batch[0]), max_batches=40))
        model = load_pruned(resnet18(num_classes=10), 'sizes.pth', keep_ratio=0.35)

    Args:
        path: File, written atomically.
        pruner: A pruner of the whole network, which is not changed.
        order: Order in which its channels go.
        recalibrate: Re-estimates the batch norm statistics of the model that it is called with. By
            default all sizes have the whole network's.
        keep_ratios: Ratios of the cost in the pruner's budget, in (0, 1], of the sizes whose
            statistics are stored; between them ``load_pruned`` interpolates. By default those of
            1, 0.8, 0.6, 0.5, 0.4, 0.3 and 0.2 that can be reached.
        meta: Of the checkpoint that the model comes from.

    Raises:
        ValueError: If a ratio is out of range or cannot be reached.
    """
    costs = pruner.costs()
    if keep_ratios is None:
        keep_ratios = stored_ratios(order, costs['budget'])
    removed = {_steps(order, costs['budget'], ratio) for ratio in keep_ratios}
    content = checkpoint_of(pruner.model, meta or {})
    state = content['state_dict']
    state.update({name: tensor.cpu() for name, tensor in state.items()})
    statistics = [{'step': 0, 'tensors': {n: state[n] for n in _statistics_of(pruner.model)}}]
    if recalibrate is not None:
        found = [
            {'step': step, 'tensors': _re_estimated(pruner, order, step, recalibrate)}
            for step in sorted(removed)
        ]
        statistics = found if 0 in removed else statistics + found
        state.update(statistics[0]['tensors'])
    trained = _trained_range(order, (meta or {}).get(ORDER_KEY, {}))
    content['meta'][ORDER_KEY] = {**(trained or {}), **order.state_dict()}
    content[SIZES_KEY] = {
        'format': SIZES_FORMAT,
        'structure': {k: v for k, v in content['meta'][META_KEY].items() if k != 'shapes'},
        'channels': {name: rank.int() for name, rank in order.ranks.items()},
        'positions': _positions(pruner.model, pruner.groups, order),
        'costs': {
            unit: _costs(order, cost)
            for unit, cost in {
                PARAMETERS: costs['params'],
                MACS: costs['macs'],
                pruner.budget.unit: costs['budget'],
            }.items()
        },
        'statistics': statistics,
        'trained': trained,
    }
    with atomic_write(Path(path)) as temporary:
        torch.save(content, temporary)


def _trained_range(order: RemovalOrder, stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a checkpoint's order says of the sizes that were trained, if it is this one."""
    if RANGE_KEY not in stored or stored['ranks'] != order.state_dict()['ranks']:
        return None
    return {key: stored[key] for key in (RANGE_KEY, 'unit')}


def stored_ratios(order: RemovalOrder, cost: LayeredCost) -> list[float]:
    """Those of :data:`STORED_RATIOS` that can be reached."""
    fewest = {name: len(channels) for name, channels in order.kept(order.steps).items()}
    least = cost.cost(fewest) / cost.cost()
    return [ratio for ratio in STORED_RATIOS if ratio >= least]


def _steps(order: RemovalOrder, cost: LayeredCost, ratio: float) -> int:
    if not 0 < ratio <= 1:
        raise ValueError(f'keep_ratios must lie in (0, 1], got {ratio}')
    return order.steps_within(ratio * cost.cost(), cost)


def _re_estimated(
    pruner: Pruner, order: RemovalOrder, step: int, recalibrate: Callable[[nn.Module], object]
) -> dict[str, Tensor]:
    """Statistics of the size after so many steps."""
    model = pruner.sized(order, step)
    recalibrate(model)
    return _statistics_of(model)


def _statistics_of(model: nn.Module) -> dict[str, Tensor]:
    """Running means and variances of batch norm, by name in the state dict."""
    norms = running_norms(model).values()
    buffers = {id(each) for norm in norms for each in (norm.running_mean, norm.running_var)}
    saved = saved_tensors(model)
    return {name: tensor.detach().cpu() for name, tensor in saved.items() if id(tensor) in buffers}


def _positions(
    model: nn.Module, groups: Sequence[ChannelGroup], order: RemovalOrder
) -> dict[str, dict[int, Tensor]]:
    """Step in which each position of a tensor goes, by name in the state dict and dimension."""
    tensors = named_tensors(model)
    found: dict[int, dict[int, Tensor]] = {}
    for group in groups:
        rank = order.ranks[group.name].int()
        for piece in group.slices:
            tensor = tensors[piece.name]
            dims = found.setdefault(id(tensor), {})
            steps = dims.setdefault(
                piece.dim, torch.full((tensor.shape[piece.dim],), order.steps, dtype=torch.int)
            )
            steps[piece.positions] = rank[piece.channels]
    return {name: found[id(t)] for name, t in saved_tensors(model).items() if id(t) in found}


def _costs(order: RemovalOrder, cost: LayeredCost) -> Tensor:
    """Cost after each number of steps, from none to all of them."""
    kept = {name: len(rank) for name, rank in order.ranks.items()}
    removed: list[list[tuple[str, int]]] = [[] for _ in range(order.steps)]
    for name, rank in order.ranks.items():
        steps, counts = rank[rank < order.steps].unique(return_counts=True)
        for step, count in zip(steps.tolist(), counts.tolist(), strict=True):
            removed[step].append((name, count))
    costs = [cost.cost(kept)]
    for step in removed:
        value = costs[-1]
        for name, count in step:
            value -= cost.of_group(name, kept)
            kept[name] -= count
            value += cost.of_group(name, kept)
        costs.append(value)
    return torch.tensor(costs, dtype=torch.float64)
