"""Soft pruning: channels shrink to nothing before they are removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn

from adasap_det.optim.shrinkage import ChannelShrinkage
from adasap_det.pruning.order import RemovalOrder
from adasap_det.pruning.pruner import Pruner

from .channel_rows import removal_rows
from .structure_hook import accumulative_counts


class SoftPruning:
    """Chooses what the prune step will remove, and pulls it to zero before.

    Args:
        pruner: Of the model.
        copies: Averaged models, whose weights shrink alike.
        limit: Largest cost allowed, in the budget's unit.
        begin, end: Optimizer steps: channels are chosen before the first, and what has been chosen
            is zero after the last one before ``end``.

    Attributes:
        kept: What has been chosen to stay, by group name; None before.
    """

    def __init__(
        self,
        pruner: Pruner,
        copies: Sequence[nn.Module],
        *,
        limit: float,
        begin: int,
        end: int,
    ) -> None:
        self.kept: Mapping[str, Tensor] | None = None
        self._pruner = pruner
        self._copies = copies
        self._limit = limit
        self._begin, self._end = begin, end
        self._pulls: list[ChannelShrinkage] = []

    def begin_step(self, step: int, order: RemovalOrder | None) -> None:
        """Choose what stays, if nothing has been chosen.

        Args:
            step: Number of the optimizer's step.
            order: Order in which channels go, if there is one.

        Raises:
            ValueError: If the limit cannot be reached, or nothing is known of the importance.
        """
        if self.kept is None and self._begin <= step < self._end:
            self._set(self._pruner.select(self._limit, order=order))
            print_log(
                f'Channels that will be removed shrink to zero in {self._end - step} steps',
                logger='current',
            )
            for name, reason in self._pruner.approximate.items():
                print_log(
                    f'The prune step will change the outputs: in group {name}, {reason}, and '
                    f'channels that are zero count',
                    logger='current',
                )

    def end_step(self, step: int) -> None:
        """Shrink the chosen channels."""
        if self._begin <= step < self._end:
            for each in self._pulls:
                each.pull(self._end - step)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {} if self.kept is None else {n: kept.tolist() for n, kept in self.kept.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of an earlier run."""
        if state:
            self._set({name: torch.tensor(kept) for name, kept in state.items()})

    def _set(self, kept: Mapping[str, Tensor]) -> None:
        self.kept = kept
        groups = self._pruner.groups
        shrinks = torch.cat([_others(kept[group.name], group.size) for group in groups])
        self._pulls = [
            ChannelShrinkage(removal_rows(model, groups), shrinks)
            for model in (self._pruner.model, *self._copies)
        ]


def _others(kept: Tensor, size: int) -> Tensor:
    """Whether each of ``size`` channels is none of those kept."""
    return torch.ones(size, dtype=torch.bool).index_fill(0, kept, False)


def make_soft_pruning(runner: Runner, pruner: Pruner, *, begin: int, end: int) -> SoftPruning:
    """Soft pruning of a training run, to the pruner's budget.

    Args:
        runner: Of the run.
        pruner: Of its model.
        begin, end: Iteration before which channels are chosen, and that of the prune step.
    """
    counts = accumulative_counts(runner)
    return SoftPruning(
        pruner,
        pruner.copies,
        limit=pruner.budget.limit(pruner.dense_costs['budget']),
        begin=begin // counts,
        end=end // counts,
    )
