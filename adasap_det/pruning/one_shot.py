"""Prune a model at once, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adasap_det.checkpoint.structure import describe

from .budgets.base import Budget, check_reachable
from .graph.channel_group import ChannelAnalysis
from .importance import Importance
from .surgery import prune_channels


@dataclass(frozen=True)
class Pruned:
    """What a cut has done.

    Attributes:
        asked, reached, dense: Cost that the budget allows, that is left, and before; in its unit.
        structure: Description for a checkpoint; see :func:`~adasap_det.pruning.describe`.
    """

    asked: float
    reached: float
    dense: float
    structure: dict[str, Any]


def prune_once(
    model: nn.Module,
    analysis: ChannelAnalysis,
    *,
    importance: Importance,
    budget: Budget,
    input_size: tuple[int, int],
    round_to: int = 1,
    min_keep_ratio: float = 0.1,
    before: dict[str, Any] | None = None,
) -> Pruned:
    """Cut a model down to a budget, in place.

    Args:
        model: Detector, classifier or plain module.
        analysis: Its channel groups.
        importance: Criterion; one that needs gradients must have observed them.
        budget: What may remain, of the model as it is.
        input_size: Height and width in pixels that MACs and latency refer to.
        round_to, min_keep_ratio: See :func:`~adasap_det.pruning.select_channels`.
        before: Structure of the model, if it was pruned before.

    Raises:
        ValueError: If the budget can't be reached, or asks for no cut.
    """
    groups = analysis.groups
    cost = budget.cost_model(model, groups, input_size=input_size)
    dense = cost.cost()
    check_reachable(
        budget,
        cost,
        groups,
        round_to=round_to,
        min_keep_ratio=min_keep_ratio,
        skipped=analysis.skipped,
    )
    kept = budget.select(
        groups,
        importance.scores(groups, model),
        cost,
        limit=budget.limit(dense),
        round_to=round_to,
        min_keep_ratio=min_keep_ratio,
    )
    reached = cost.cost({name: len(channels) for name, channels in kept.items()})
    earlier = (before or {}).get('kept', {})
    dense_channels = {g.name: g.size for g in groups} | (before or {}).get('dense_channels', {})
    original = {
        name: _compose(earlier.get(name), channels.tolist()) for name, channels in kept.items()
    }
    prune_channels(model, groups, kept)
    structure = describe(model, kept=original, dense_channels=dense_channels)
    return Pruned(budget.limit(dense), reached, dense, structure)


def _compose(earlier: Sequence[int] | None, kept: Sequence[int]) -> list[int]:
    """Channels of the dense model, where ``kept`` counts those that an earlier cut left."""
    return list(kept) if not earlier else [earlier[i] for i in kept]


def observe_gradients(
    importance: Importance, analysis: ChannelAnalysis, model: nn.Module, losses: Any
) -> int:
    """Let a criterion see the gradients of some batches.

    Args:
        importance: The criterion.
        analysis: Channel groups of the model.
        model: The model; it has no gradients afterwards.
        losses: Iterable that computes one batch's loss after another.

    Returns:
        Number of batches.
    """
    frozen = [p for p in model.parameters() if not p.requires_grad]
    count = 0
    with torch.enable_grad():
        try:
            # Frozen layers are cut as well, and so need a score.
            for parameter in frozen:
                parameter.requires_grad_(True)
            for loss in losses:
                model.zero_grad(set_to_none=True)
                loss.backward()
                importance.observe(analysis.groups, model)
                count += 1
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
            model.zero_grad(set_to_none=True)
    return count
