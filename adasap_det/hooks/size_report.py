"""The log line and the scalars of a model's size while it shrinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import MessageHub, print_log
from torch import Tensor, nn

from adasap_det.pruning.budgets.budget import Budget
from adasap_det.pruning.budgets.latency import LatencyBudget
from adasap_det.pruning.budgets.latency.network_timing import Forward
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.pruner import Pruner
from adasap_det.utils.copy_unwrapped import copy_unwrapped


def report_size(
    hub: MessageHub,
    event: str,
    *,
    groups: Sequence[ChannelGroup],
    costs: Mapping[str, float],
    dense: Mapping[str, float],
    budget: Budget,
    measured: float | None = None,
) -> None:
    """Log one line and the scalars ``train/params_M``, ``train/macs_G`` and the latencies.

    Args:
        hub: Where the scalars go.
        event: What has just been done, the beginning of the line.
        groups: Channel groups of the model as it is now.
        costs: Of the model as it is now: ``params``, ``macs`` and the ``budget``'s, in its unit.
        dense: The same of the dense model.
        budget: Predicts the latency, if it is one of latency.
        measured: Latency in milliseconds, if it was measured.
    """
    params, macs = costs['params'], costs['macs']
    channels = sum(group.size for group in groups)
    latency = ''
    if isinstance(budget, LatencyBudget):
        predicted = costs['budget']
        ratio = predicted / dense['budget']
        latency = f', predicted latency {budget.format(predicted)} ({ratio:.1%})'
        hub.update_scalar('train/latency_ms', predicted)
    if measured is not None:
        latency += f', measured latency {measured:.1f} ms'
        hub.update_scalar('train/latency_measured_ms', measured)
    print_log(
        f'{event}: {channels} prunable channels in {len(groups)} groups; '
        f'parameters {params / 1e6:.3f} M ({params / dense["params"]:.1%} of dense), '
        f'MACs {macs / 1e9:.3f} G ({macs / dense["macs"]:.1%}){latency}',
        logger='current',
    )
    hub.update_scalar('train/params_M', params / 1e6)
    hub.update_scalar('train/macs_G', macs / 1e9)


def report_pruner(hub: MessageHub, event: str, pruner: Pruner, *, time: bool) -> float:
    """:func:`report_size` of a pruner's model.

    Args:
        hub, event: See there.
        pruner: Of the model.
        time: Whether to measure its latency.

    Returns:
        The cost that the budget limits.
    """
    costs = {name: cost.cost() for name, cost in pruner.costs().items()}
    report_size(
        hub,
        event,
        groups=pruner.groups,
        costs=costs,
        dense=pruner.dense_costs,
        budget=pruner.budget,
        measured=measured_latency(pruner.model, pruner.example_inputs) if time else None,
    )
    return costs['budget']


def measured_latency(model: nn.Module, example_inputs: Tensor) -> float:
    """Milliseconds of a forward pass on one image, without decoding and NMS."""
    device = next(model.parameters()).device
    forward = Forward(example_inputs, 1, torch.float32, device)
    return forward.time([copy_unwrapped(model)], seconds=1.0)[0]
