"""Channels that keep the most importance within a latency, as a knapsack."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from adasap_det.pruning.budgets.selection import Cost, Prunable, ascending_channels, possible_counts

ROUNDS = 6
"""Knapsacks on the way to the limit; each uses the costs at the solution before."""

GAP = 1e-3
"""Relative gap to the best solution that is accepted: many channels are nearly equal."""


class GroupedCost(Cost, Protocol):
    """A cost that can be attributed to groups."""

    def of_group(self, name: str, kept: Mapping[str, int]) -> float:
        """The part of the cost that depends on the channels of one group."""


def select_by_knapsack(
    groups: Sequence[Prunable],
    scores: Sequence[Tensor],
    cost: GroupedCost,
    *,
    limit: float,
    round_to: int = 1,
    min_keep_ratio: float = 0.0,
    dense_sizes: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Keep the largest sum of scores whose marginal costs fit the limit.

    In each group the most important channels come first, and the j-th step of them costs
    ``T(j) - T(j - 1)``, the other groups being as they are. As a layer's time depends on what is
    left on both its sides, this is solved several times on the way to the limit, each time with
    the costs at the last solution. Arguments, result and errors as of
    :func:`~adasap_det.pruning.select_channels`.

    Source: HALP (Shen et al. 2022, arXiv 2110.10811), equations 5 to 8; solved by HiGHS.
    """
    items = [
        _Steps(
            group, score, (dense_sizes or {}).get(group.name, group.size), round_to, min_keep_ratio
        )
        for group, score in zip(groups, scores, strict=True)
    ]
    now = {item.name: item.counts[-1] for item in items}
    least = {item.name: item.counts[0] for item in items}
    start, lowest = cost.cost(now), cost.cost(least)
    if lowest > limit:
        raise ValueError(
            f'a cost of {limit:.4g} cannot be reached: with the fewest channels allowed it is '
            f'{lowest:.4g}'
        )
    if start > limit:
        for done in range(1, ROUNDS + 1):
            target = start * (limit / start) ** (done / ROUNDS)
            now = _solve(items, cost, now, target)
        # Steps that save less together than each by itself leave a gap, smaller with each knapsack.
        for _ in range(ROUNDS):
            if cost.cost(now) <= limit:
                break
            now = _solve(items, cost, now, limit)
        # Earlier knapsacks may have removed channels that the final costs would keep: solve once
        # more over all channels, with the costs at the end.
        again = _solve(items, cost, now, limit, among={item.name: item.size for item in items})
        found = [_fill(items, cost, _trim(items, cost, n, limit), limit) for n in (now, again)]
        now = max(found, key=lambda kept: sum(i.value(kept[i.name], 0) for i in items))
    return {item.name: item.best(now[item.name]) for item in items}


class _Steps:
    """Channels of a group in steps, in the order in which they are kept."""

    def __init__(
        self, group: Prunable, score: Tensor, dense: int, round_to: int, min_keep_ratio: float
    ) -> None:
        self.name = group.name
        self.size = group.size
        self.counts = possible_counts(
            group, dense=dense, round_to=round_to, min_keep_ratio=min_keep_ratio
        )[::-1]
        self._order = ascending_channels(group, score)
        ordered = score.cpu().double()[self._order.flip(0)]
        self._sums = torch.cat([torch.zeros(1, dtype=torch.double), ordered.cumsum(0)])

    def best(self, count: int) -> Tensor:
        """The ``count`` most important channels, ascending."""
        return self._order[self.size - count :].sort().values

    def value(self, more: int, less: int) -> float:
        """Importance that ``more`` channels have over ``less``."""
        return float(self._sums[more] - self._sums[less])


def _solve(
    items: Sequence[_Steps],
    cost: GroupedCost,
    now: Mapping[str, int],
    target: float,
    *,
    among: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Solve one knapsack for the steps to keep, with the costs at ``now``; at most ``among``."""
    among = now if among is None else among
    values: list[float] = []
    costs: list[float] = []
    rows: list[int] = []
    columns: list[int] = []
    capacity = target - cost.cost(now)
    steps: list[tuple[_Steps, int]] = []
    for item in items:
        allowed = [count for count in item.counts if count <= among[item.name]]
        curve = [cost.of_group(item.name, {**now, item.name: count}) for count in allowed]
        capacity += curve[allowed.index(now[item.name])] - curve[0]
        for j, (less, more) in enumerate(itertools.pairwise(allowed)):
            values.append(item.value(more, less))
            costs.append(curve[j + 1] - curve[j])
            if j:  # a step is kept only if the one before it is
                rows += [len(rows) // 2] * 2
                columns += [len(steps), len(steps) - 1]
            steps.append((item, more))
    if not steps or capacity <= 0:
        return {item.name: item.counts[0] for item in items}
    value = np.array(values)
    value /= max(value.max(), np.finfo(float).tiny)
    precedence = csr_matrix(
        (np.tile([1.0, -1.0], len(rows) // 2), (rows, columns)), shape=(len(rows) // 2, len(steps))
    )
    weight = csr_matrix(np.array(costs)[None])
    upper = np.concatenate([[capacity], np.zeros(len(rows) // 2)])
    found = milp(
        -value,
        integrality=np.ones(len(steps)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(vstack([weight, precedence]), -np.inf, upper),
        options={'mip_rel_gap': GAP, 'time_limit': 30.0},
    )
    if found.x is None:
        raise RuntimeError(f'HiGHS found no selection of channels: {found.message}')
    kept = {item.name: item.counts[0] for item in items}
    for (item, more), taken in zip(steps, found.x, strict=True):
        if taken > 0.5:
            kept[item.name] = max(kept[item.name], more)
    return kept


def _trim(
    items: Sequence[_Steps], cost: GroupedCost, now: dict[str, int], limit: float
) -> dict[str, int]:
    """Remove the steps with the least importance per cost until the limit holds."""
    now = dict(now)
    while cost.cost(now) > limit:
        worst = min(
            (step for step in (_step(item, cost, now, -1) for item in items) if step),
            key=lambda step: step[0],
        )
        now[worst[1]] = worst[2]
    return now


def _fill(
    items: Sequence[_Steps], cost: GroupedCost, now: dict[str, int], limit: float
) -> dict[str, int]:
    """Add the steps with the most importance per cost while the limit holds."""
    now = dict(now)
    open_items = list(items)
    while open_items:
        found = [(step, item) for item in open_items if (step := _step(item, cost, now, 1))]
        if not found:
            break
        (_, name, count), item = max(found, key=lambda pair: pair[0][0])
        if cost.cost({**now, name: count}) <= limit:
            now[name] = count
        else:
            open_items.remove(item)
    return now


def _step(
    item: _Steps, cost: GroupedCost, now: Mapping[str, int], direction: int
) -> tuple[float, str, int] | None:
    """Importance per cost of one step up or down from ``now``, with the resulting count."""
    index = item.counts.index(now[item.name]) + direction
    if not 0 <= index < len(item.counts):
        return None
    count = item.counts[index]
    more, less = max(count, now[item.name]), min(count, now[item.name])
    change = cost.of_group(item.name, {**now, item.name: more}) - cost.of_group(
        item.name, {**now, item.name: less}
    )
    return item.value(more, less) / max(change, 1e-12), item.name, count
