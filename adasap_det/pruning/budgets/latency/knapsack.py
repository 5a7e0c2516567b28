"""Channels that keep the most importance within a latency, as a knapsack."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from adasap_det.pruning.budgets.selection import Cost, GroupSteps, Prunable, fill, group_steps

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
    fixed: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Keep the largest sum of scores whose marginal costs fit the limit.

    In each group the most important channels come first, and the j-th step of them costs
    ``T(j) - T(j - 1)``, the other groups being as they are. As a layer's time depends on what is
    left on both its sides, this is solved several times on the way to the limit, each time with
    the costs at the last solution. Arguments, result and errors as of
    :func:`~adasap_det.pruning.select_channels`.

    Source: HALP (Shen et al. 2022, arXiv 2110.10811), equations 5 to 8; solved by HiGHS.
    """
    items = group_steps(
        groups,
        scores,
        round_to=round_to,
        min_keep_ratio=min_keep_ratio,
        dense_sizes=dense_sizes,
        fixed=fixed,
    )
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
        worth = functools.partial(_worth, cost)
        found = [
            fill(items, cost, _trim(items, cost, n, limit), limit, worth) for n in (now, again)
        ]
        now = max(found, key=lambda kept: sum(i.value(kept[i.name], 0) for i in items))
    return {item.name: item.best(now[item.name]) for item in items}


def _solve(
    items: Sequence[GroupSteps],
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
    steps: list[tuple[GroupSteps, int]] = []
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
    items: Sequence[GroupSteps], cost: GroupedCost, now: dict[str, int], limit: float
) -> dict[str, int]:
    """Remove the steps with the least importance per cost until the limit holds."""
    now = dict(now)
    while cost.cost(now) > limit:
        worst = min(
            (item for item in items if now[item.name] > item.counts[0]),
            key=lambda item: _worth(
                cost, item, now[item.name], {**now, item.name: item.before(now[item.name])}
            ),
        )
        now[worst.name] = worst.before(now[worst.name])
    return now


def _worth(cost: GroupedCost, item: GroupSteps, more: int, kept: Mapping[str, int]) -> float:
    """Importance per cost of the step from the ``kept`` channels to ``more``."""
    change = cost.of_group(item.name, {**kept, item.name: more}) - cost.of_group(item.name, kept)
    return item.value(more, kept[item.name]) / max(change, 1e-12)
