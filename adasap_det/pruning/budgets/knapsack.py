"""Channels and blocks that keep the most importance within a cost, as an integer program."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from .selection import Cost, GroupSteps, Prunable, fill, group_steps

ROUNDS = 6
"""Knapsacks on the way to the limit; each uses the costs at the solution before."""

GAP = 1e-3
"""Relative gap to the best solution that is accepted, as many channels are nearly equal."""


class GroupedCost(Cost, Protocol):
    """A cost that can be attributed to groups."""

    def of_group(self, name: str, kept: Mapping[str, int]) -> float:
        """The part of the cost that depends on the channels of one group, or on one block."""


@dataclass(frozen=True)
class BlockChoice:
    """A block that may be removed as a whole.

    Attributes:
        name: Its name; it is kept like a group of one channel.
        score: Importance of the whole: the change of the loss without it, in the channels' unit.
        inner: Names of the channel groups that go with it.
    """

    name: str
    score: float
    inner: tuple[str, ...] = ()

    size = 1
    parts = 1


def select_by_knapsack(
    groups: Sequence[Prunable],
    scores: Sequence[Tensor],
    cost: GroupedCost,
    *,
    limit: float,
    blocks: Sequence[BlockChoice] = (),
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

    A block is a binary variable. Without it the loss rises by its score, in place of those of the
    channels that its inner groups lose: these have channels to choose only where the block stays.

    Args:
        blocks: Blocks that may go as a whole. The result has an element for each that stays, and
            none for each that goes.

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
    items += [GroupSteps(block, torch.tensor([block.score]), [0, 1]) for block in blocks]
    program = _Program(items, cost, blocks)
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
            now = program.solve(now, target)
        # Steps that save less together than each by itself leave a gap, smaller with each knapsack.
        for _ in range(ROUNDS):
            if cost.cost(now) <= limit:
                break
            now = program.solve(now, limit)
        # Earlier knapsacks may have removed channels that the final costs would keep: solve once
        # more over all channels, with the costs at the end.
        again = program.solve(now, limit, among={item.name: item.size for item in items})
        found = [
            fill(items, cost, program.trim(n, limit), limit, program.worth) for n in (now, again)
        ]
        now = min(found, key=program.loss)
    return {item.name: item.best(now[item.name]) for item in items}


@dataclass(frozen=True)
class _Step:
    """A binary variable: whether a group keeps the channels up to ``count``, or a block stays.

    Attributes:
        name: Of the group or block.
        count: Channels kept with it.
        value: Loss that it spares.
        cost: What it costs.
        needs: Index of the step without which it cannot be taken.
    """

    name: str
    count: int
    value: float
    cost: float
    needs: int | None


class _Program:
    """The integer program of a selection.

    Args:
        items: The steps of the groups and of the blocks.
        cost: The cost.
        blocks: The blocks.
    """

    def __init__(
        self, items: Sequence[GroupSteps], cost: GroupedCost, blocks: Sequence[BlockChoice]
    ) -> None:
        self._items = items
        self._cost = cost
        self._blocks = {block.name: block for block in blocks}
        self._block_of = {name: block.name for block in blocks for name in block.inner}
        by_name = {item.name: item for item in items}
        self._inner = {b.name: [by_name[name] for name in b.inner] for b in blocks}

    def solve(
        self, now: Mapping[str, int], target: float, *, among: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """Solve one knapsack of the steps up to ``among``, with the costs at ``now``."""
        steps, constant = self._steps(now, now if among is None else among)
        kept = {item.name: item.counts[0] for item in self._items}
        capacity = target - constant
        if not steps or capacity <= 0:
            return kept
        value = np.array([step.value for step in steps])
        value /= max(np.abs(value).max(), np.finfo(float).tiny)
        pairs = [(i, step.needs) for i, step in enumerate(steps) if step.needs is not None]
        precedence = csr_matrix(
            (
                np.tile([1.0, -1.0], len(pairs)),
                (np.repeat(np.arange(len(pairs)), 2), [i for pair in pairs for i in pair]),
            ),
            shape=(len(pairs), len(steps)),
        )
        weight = csr_matrix(np.array([step.cost for step in steps])[None])
        found = milp(
            -value,
            integrality=np.ones(len(steps)),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(
                vstack([weight, precedence]),
                -np.inf,
                np.concatenate([[capacity], np.zeros(len(pairs))]),
            ),
            options={'mip_rel_gap': GAP, 'time_limit': 30.0},
        )
        if found.x is None:
            raise RuntimeError(f'HiGHS found no selection of channels: {found.message}')
        for step, taken in zip(steps, found.x, strict=True):
            if taken > 0.5:
                kept[step.name] = max(kept[step.name], step.count)
        return kept

    def _steps(self, now: Mapping[str, int], among: Mapping[str, int]) -> tuple[list[_Step], float]:
        """All steps, and the cost without any of them."""
        steps: list[_Step] = []
        constant = self._cost.cost(now)
        step_of: dict[str | None, int] = {}
        for block in self._blocks:
            if among[block]:
                stays = {**now, block: 1}
                whole = self._cost.of_group(block, stays)
                constant -= whole * now[block]
                least = {item.name: item.counts[0] for item in self._inner[block]}
                for item in self._inner[block]:
                    before, after = self._curve(item, stays, [now[item.name], least[item.name]])
                    whole -= before - after
                step_of[block] = len(steps)
                steps.append(_Step(block, 1, self._gain(block, least), whole, None))
        for item in self._items:
            within = self._block_of.get(item.name)
            if item.name in self._blocks or (within is not None and within not in step_of):
                continue
            allowed = [count for count in item.counts if count <= among[item.name]]
            if within is None:
                curve = self._curve(item, now, allowed)
                constant -= curve[allowed.index(now[item.name])] - curve[0]
            else:
                curve = self._curve(item, {**now, within: 1}, allowed)
            needs = step_of.get(within)
            for j, (less, more) in enumerate(itertools.pairwise(allowed)):
                value, cost = item.value(more, less), curve[j + 1] - curve[j]
                steps.append(_Step(item.name, more, value, cost, needs))
                needs = len(steps) - 1
        return steps, constant

    def trim(self, now: Mapping[str, int], limit: float) -> dict[str, int]:
        """Remove the steps with the least importance per cost until the limit holds."""
        now = dict(now)
        while self._cost.cost(now) > limit:
            worst = min(
                (i for i in self._items if now[i.name] > i.counts[0] and self._exists(i, now)),
                key=lambda i: self.worth(i, now[i.name], {**now, i.name: i.before(now[i.name])}),
            )
            now[worst.name] = worst.before(now[worst.name])
        return now

    def worth(self, item: GroupSteps, more: int, kept: Mapping[str, int]) -> float:
        """Importance per cost of the step from the ``kept`` channels to ``more``.

        Negative for a block that costs more of the importance than its removal.
        """
        if not self._exists(item, kept):
            return 0.0
        change = self._cost.of_group(item.name, {**kept, item.name: more})
        change -= self._cost.of_group(item.name, kept)
        value = (
            self._gain(item.name, kept)
            if item.name in self._blocks
            else item.value(more, kept[item.name])
        )
        return value / max(change, 1e-12)

    def loss(self, kept: Mapping[str, int]) -> float:
        """Importance that is lost."""
        lost = sum(
            item.value(item.size, kept[item.name])
            for item in self._items
            if item.name not in self._blocks and self._exists(item, kept)
        )
        return lost + sum(b.score for b in self._blocks.values() if not kept[b.name])

    def _exists(self, item: GroupSteps, kept: Mapping[str, int]) -> bool:
        """Whether an item is not inside of a removed block."""
        within = self._block_of.get(item.name)
        return within is None or bool(kept[within])

    def _gain(self, block: str, kept: Mapping[str, int]) -> float:
        """What a block is worth with so many channels of its inner groups."""
        lost = sum(item.value(item.size, kept[item.name]) for item in self._inner[block])
        return self._blocks[block].score - lost

    def _curve(
        self, item: GroupSteps, now: Mapping[str, int], counts: Sequence[int]
    ) -> list[float]:
        return [self._cost.of_group(item.name, {**now, item.name: count}) for count in counts]
