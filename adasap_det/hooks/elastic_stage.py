"""The elastic stage: passes without the least important channels, at a size drawn for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.stats import kendalltau

from adasap_det.optim.optim_wrapper import SharpnessAwareMixin
from adasap_det.optim.removal import ChannelRemoval
from adasap_det.pruning.elastic import ElasticSizes
from adasap_det.pruning.order import RemovalOrder
from adasap_det.pruning.pruner import Pruner

from .channel_rows import removal_rows


class ElasticStage:
    """Tells an optimizer wrapper before each pass which channels it goes without.

    Args:
        pruner: Of the model; its budget's unit is that of the sizes.
        wrapper: The optimizer wrapper.
        sizes: What is drawn.
        order_interval: Steps between two renewals of the order.
        frozen_from: Step from which the order is not renewed any more.
        per_cost: See :func:`~adasap_det.pruning.order.removal_order`.

    Attributes:
        order: The order in which channels go, None before the importance knows anything.
        order_change: Kendall's tau of the order and the one before it, once there are two.
    """

    def __init__(
        self,
        pruner: Pruner,
        wrapper: SharpnessAwareMixin,
        sizes: ElasticSizes,
        *,
        order_interval: int,
        frozen_from: int,
        per_cost: bool = True,
    ) -> None:
        self.order: RemovalOrder | None = None
        self.order_change: float | None = None
        self._pruner = pruner
        self._sizes = sizes
        self._interval = order_interval
        self._frozen_from = frozen_from
        self._per_cost = per_cost
        self._removal = ChannelRemoval(removal_rows(pruner.model, pruner.groups))
        self._cost = pruner.costs()['budget']
        wrapper.removal = self._removal

    def begin_pass(self, step: int, *, index: int = 0, count: int = 1) -> float:
        """Choose what the next pass goes without.

        Args:
            step: Number of the optimizer's step.
            index, count: Which of how many passes of this step, over micro-batches and ranks.

        Returns:
            Ratio of the dense model's cost that is wanted of the pass; 1 for the whole network.
        """
        if index == 0 or self.order is None:
            self._renew(step)
        if self.order is None:
            return 1.0
        keep_ratio = self._sizes.draw(step, index=index, count=count)
        limit = keep_ratio * self._pruner.dense_costs['budget']
        self._removal.removed = self.order.steps_within(limit, self._cost)
        return keep_ratio

    def end(self) -> None:
        """Remove nothing any more."""
        self._removal.removed = 0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {} if self.order is None else self.order.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of an earlier run.

        Raises:
            ValueError: If its order belongs to another network.
        """
        if state:
            self._set(RemovalOrder.from_state_dict(state, self._pruner.groups))

    def _renew(self, step: int) -> None:
        due = step % self._interval == 0 and step < self._frozen_from
        if (self.order is not None and not due) or not self._pruner.importance.known:
            return
        before, order = self.order, self._pruner.removal_order(per_cost=self._per_cost)
        if before is not None:
            self.order_change = float(kendalltau(_joined(before), _joined(order)).statistic)
        self._set(order)

    def _set(self, order: RemovalOrder) -> None:
        self.order = order
        self._removal.set_order(_joined(order))


def _joined(order: RemovalOrder) -> torch.Tensor:
    return torch.cat(list(order.ranks.values()))
