"""One order in which channels are removed, whatever the size that is wanted."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .budgets.budget import LayeredCost
from .budgets.selection import Prunable, group_steps

ORDER_KEY = 'adasap_det_order'
"""Key of the order in a checkpoint's ``meta``."""


@dataclass(frozen=True)
class RemovalOrder:
    """The steps in which the channels of all groups go, the first ones first.

    The sizes that it gives are nested: whatever a smaller network has, a larger one has too.

    Attributes:
        ranks: By group name, the step in which each channel goes, shape ``(size,)``; channels that
            always stay have the number of steps.
        steps: Number of steps.
    """

    ranks: Mapping[str, Tensor]
    steps: int

    def kept(self, removed: int) -> dict[str, Tensor]:
        """Channels that are left after so many steps, ascending, by group name."""
        return {name: (rank >= removed).nonzero().flatten() for name, rank in self.ranks.items()}

    def steps_within(self, limit: float, cost: LayeredCost) -> int:
        """Number of steps after which the cost is at most ``limit``.

        Raises:
            ValueError: If it is more even after all of them.
        """

        def after(removed: int) -> float:
            return cost.cost(
                {
                    name: len(rank) - int(rank.searchsorted(removed))
                    for name, rank in self._ascending.items()
                }
            )

        needed = bisect.bisect_left(
            range(self.steps + 1), True, key=lambda removed: after(removed) <= limit
        )
        if needed > self.steps:
            raise ValueError(
                f'a cost of {limit:.4g} cannot be reached: with the fewest channels allowed it is '
                f'{after(self.steps):.4g}'
            )
        return needed

    @cached_property
    def _ascending(self) -> dict[str, np.ndarray]:
        return {name: rank.sort().values.numpy() for name, rank in self.ranks.items()}

    def within(self, kept: Mapping[str, Tensor]) -> RemovalOrder:
        """The order of what a prune step has left.

        Args:
            kept: Channels that were kept, ascending, by group name.
        """
        return RemovalOrder({n: rank[kept[n]] for n, rank in self.ranks.items()}, self.steps)

    def state_dict(self) -> dict[str, Any]:
        """The order as JSON-able data."""
        return {'ranks': {n: rank.tolist() for n, rank in self.ranks.items()}, 'steps': self.steps}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], groups: Sequence[Prunable]) -> RemovalOrder:
        """The order that :meth:`state_dict` describes.

        Args:
            state: What it returned.
            groups: The channel groups of the model.

        Raises:
            ValueError: If it is the order of other groups.
        """
        own = {group.name: group.size for group in groups}
        stored = {name: len(rank) for name, rank in state['ranks'].items()}
        if own != stored:
            name = next(n for n in [*own, *stored] if own.get(n) != stored.get(n))
            raise ValueError(
                f'the order of removal belongs to another network: group {name} has '
                f'{stored.get(name, "no")} channels in it and {own.get(name, "no")} in the model'
            )
        return cls({name: torch.tensor(state['ranks'][name]) for name in own}, state['steps'])


def removal_order(
    groups: Sequence[Prunable],
    scores: Sequence[Tensor],
    cost: LayeredCost,
    *,
    round_to: int = 1,
    min_keep_ratio: float = 0.0,
    dense_sizes: Mapping[str, int] | None = None,
    per_cost: bool = False,
) -> RemovalOrder:
    """The order by importance, the least first.

    Args:
        groups: Channel groups.
        scores: Importance of each group's channels, shape ``(size,)``; equal in equal positions
            of a group's parts.
        cost: Cost of the model.
        round_to, min_keep_ratio, dense_sizes: See :func:`~adasap_det.pruning.select_channels`.
        per_cost: Divide the mean importance of a step by what it saves of the cost, a channel on
            average: between all channels of its group and the fewest allowed, all other groups
            being whole. By default importance counts alone.
    """
    on_cpu = torch.cat(list(scores)).cpu().split([group.size for group in groups])  # one wait
    items = group_steps(
        groups,
        on_cpu,
        round_to=round_to,
        min_keep_ratio=min_keep_ratio,
        dense_sizes=dense_sizes,
        fixed=None,
    )
    full = {item.name: item.size for item in items}
    steps = []
    for item in items:
        least = item.counts[0]
        saved = cost.of_group(item.name, full) - cost.of_group(
            item.name, {**full, item.name: least}
        )
        price = saved / (item.size - least) if per_cost and saved > 0 else 1.0
        steps += [
            (item.ranks[more] / price, item.name, more, less)
            for less, more in pairwise(item.counts)
        ]
    steps.sort(key=lambda step: (step[0], step[1], -step[2]))
    ranks = {item.name: torch.full((item.size,), len(steps)) for item in items}
    by_name = {item.name: item for item in items}
    for rank, (_, name, more, less) in enumerate(steps):
        ranks[name][by_name[name].between(more, less)] = rank
    return RemovalOrder(ranks, len(steps))
