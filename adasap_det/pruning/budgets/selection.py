"""Selection of the channels to keep within a cost. Independent of OpenMMLab."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

TOLERANCE = 0.02
"""Ratio of a limit that a selection may leave unused; if more is, others are tried."""


class Cost(Protocol):
    """A cost that never rises when a group keeps fewer channels."""

    def cost(self, kept: Mapping[str, int]) -> float:
        """Cost where each group keeps so many channels."""


class Prunable(Protocol):
    """The properties of a channel group that the selection uses."""

    @property
    def name(self) -> str:
        """Name of the group."""

    @property
    def size(self) -> int:
        """Number of channels."""

    @property
    def parts(self) -> int:
        """Equal parts that must lose the same channels."""


def exponential_target(done: float, *, initial: float, final: float) -> float:
    """Target cost when a fraction ``done`` of the prune steps is made.

    Source: HALP's schedule (arXiv 2110.10811) after FORCE (arXiv 2006.09081):
    ``exp(a ln final + (1 - a) ln initial)``.
    """
    return math.exp(done * math.log(final) + (1 - done) * math.log(initial))


def channel_counts(
    size: int, *, dense: int, parts: int, round_to: int, min_keep_ratio: float
) -> list[int]:
    """Numbers of channels that a group may keep, descending, its present size first.

    Args:
        size: Channels now.
        dense: Channels of the dense model, which ``min_keep_ratio`` refers to.
        parts: See :class:`Prunable`.
        round_to: Counts are multiples of this (of its least common multiple with ``parts``).
        min_keep_ratio: Ratio of ``dense`` that is always kept; at least one step is kept.
    """
    step = math.lcm(parts, round_to)
    least = max(step, math.ceil(dense * min_keep_ratio / step) * step)
    return [size, *range((size - 1) // step * step, least - 1, -step)]


def possible_counts(
    group: Prunable, *, dense: int | None = None, round_to: int, min_keep_ratio: float
) -> list[int]:
    """:func:`channel_counts` of a group, without those too few for all its segments.

    ``round_to`` counts positions, of which an attention head has several.
    """
    counts = channel_counts(
        group.size,
        dense=group.size if dense is None else dense,
        parts=group.parts,
        round_to=round_to // math.gcd(round_to, getattr(group, 'width', 1)),
        min_keep_ratio=min_keep_ratio,
    )
    least = group.parts * len(getattr(group, 'segments', ()))
    return [count for count in counts if count >= least] or [group.size]


def select_channels(
    groups: Sequence[Prunable],
    scores: Sequence[Tensor],
    cost: Cost,
    *,
    limit: float,
    round_to: int = 1,
    min_keep_ratio: float = 0.0,
    dense_sizes: Mapping[str, int] | None = None,
    fixed: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Keep the most important channels that the limit allows, over all groups together.

    Channels are removed in steps of ``round_to``, least important step first (by its mean score),
    until the cost is within ``limit``. Steps that fit into what is left of it are given back, most
    important first. Where more than ``TOLERANCE`` of the limit stays unused, large steps are
    exchanged for small ones.

    Args:
        groups: Channel groups.
        scores: Importance of each group's channels, shape ``(size,)``; equal in equal positions
            of a group's parts.
        cost: What the limit is on.
        limit: Largest cost allowed.
        round_to: Channels a group is left with are a multiple of this, unless it loses none.
        min_keep_ratio: Ratio of each group that is always kept.
        dense_sizes: Channels by group name that ``min_keep_ratio`` refers to, the present ones by
            default.
        fixed: Channels by group name of groups whose number of channels is given; the limit decides
            on the others.

    Returns:
        Channels to keep, ascending, by group name.

    Raises:
        ValueError: If even the fewest channels allowed cost more than ``limit``.
    """
    items = group_steps(
        groups,
        scores,
        round_to=round_to,
        min_keep_ratio=min_keep_ratio,
        dense_sizes=dense_sizes,
        fixed=fixed,
    )
    kept = _prune_and_fill(items, cost, limit)
    if kept is None:
        least = cost.cost({item.name: item.counts[0] for item in items})
        raise ValueError(
            f'a cost of {limit:.4g} cannot be reached: with the fewest channels allowed it is '
            f'{least:.4g}'
        )
    if (1 - TOLERANCE) * limit > cost.cost(kept):
        kept = _closest(items, cost, limit, kept)
    return {item.name: item.best(kept[item.name]) for item in items}


def _prune_and_fill(
    items: Sequence[GroupSteps],
    cost: Cost,
    limit: float,
    floors: Mapping[str, int] | None = None,
) -> dict[str, int] | None:
    """Remove steps, least important first, until the limit holds, then give back what fits.

    ``None`` if the limit cannot be reached. A group in ``floors`` keeps so many channels.
    """
    floors = floors or {}
    steps = [
        (item.ranks[more], item.name, less)
        for item in items
        for less, more in pairwise(item.counts)
        if less >= floors.get(item.name, 0)
    ]
    steps.sort(key=lambda step: (step[0], step[1], -step[2]))

    def kept_after(count: int) -> dict[str, int]:
        kept = {item.name: item.counts[-1] for item in items}
        for _, name, left in steps[:count]:
            kept[name] = left
        return kept

    # Cost falls with every step, so the first count of steps that suffices is found by bisection.
    needed = bisect.bisect_left(
        range(len(steps) + 1), True, key=lambda count: cost.cost(kept_after(count)) <= limit
    )
    if needed > len(steps):
        return None
    return fill(items, cost, kept_after(needed), limit, lambda item, more, _: item.ranks[more])


def _closest(
    items: Sequence[GroupSteps], cost: Cost, limit: float, kept: dict[str, int]
) -> dict[str, int]:
    """A selection closer to the limit than ``kept``, where no single step fits any more.

    In turn each group keeps its next step, which costs more than what is left, and the next steps
    of the ranking are removed in its place. Of the selections within ``TOLERANCE`` the one of the
    highest importance is returned; if there are none, the one with the highest cost.
    """
    found = [kept]
    for item in sorted(items, key=lambda item: item.name):
        if kept[item.name] < item.counts[-1]:
            floors = {item.name: item.after(kept[item.name])}
            other = _prune_and_fill(items, cost, limit, floors)
            found += [other] if other is not None else []

    def quality(kept: Mapping[str, int]) -> tuple[float, float]:
        used = min(cost.cost(kept), (1 - TOLERANCE) * limit)
        return used, sum(item.value(kept[item.name], 0) for item in items)

    return max(found, key=quality)


class GroupSteps:
    """The channels of a group in steps, in the order in which they are kept.

    Args:
        group: The group.
        score: Importance of its channels, shape ``(size,)``.
        counts: Numbers of channels that may be kept, ascending.

    Attributes:
        name: Name of the group.
        size: Channels now.
        counts: Numbers of channels that may be kept, ascending.
        ranks: By count, the importance of the step up to it: the highest mean score of this step
            and of the less important ones. Of every count but the smallest.
    """

    def __init__(self, group: Prunable, score: Tensor, counts: Sequence[int]) -> None:
        self.name = group.name
        self.size = group.size
        self.counts = counts
        self._order = ascending_channels(group, score)
        # Cumulative sums of the ascending scores give the value of every step at once.
        self._sums = [0.0, *score.cpu()[self._order].double().cumsum(0).tolist()]
        self.ranks: dict[int, float] = {}
        rank = -math.inf
        for more, less in pairwise(reversed(self.counts)):
            rank = max(rank, self.value(more, less) / (more - less))
            self.ranks[more] = rank

    def best(self, count: int) -> Tensor:
        """The ``count`` most important channels, ascending."""
        return self._order[self.size - count :].sort().values

    def between(self, more: int, less: int) -> Tensor:
        """The channels that ``more`` channels have over ``less``."""
        return self._order[self.size - more : self.size - less]

    def after(self, count: int) -> int:
        """The next larger count."""
        return self.counts[self.counts.index(count) + 1]

    def before(self, count: int) -> int:
        """The next smaller count."""
        return self.counts[self.counts.index(count) - 1]

    def value(self, more: int, less: int) -> float:
        """Importance that ``more`` channels have over ``less``."""
        return self._sums[self.size - less] - self._sums[self.size - more]


def group_steps(
    groups: Sequence[Prunable],
    scores: Sequence[Tensor],
    *,
    round_to: int,
    min_keep_ratio: float,
    dense_sizes: Mapping[str, int] | None,
    fixed: Mapping[str, int] | None,
) -> list[GroupSteps]:
    """The steps of every group; arguments as of :func:`~adasap_det.pruning.select_channels`."""
    dense_sizes, fixed = dense_sizes or {}, fixed or {}
    return [
        GroupSteps(
            group,
            score,
            [fixed[group.name]]
            if group.name in fixed
            else possible_counts(
                group,
                dense=dense_sizes.get(group.name),
                round_to=round_to,
                min_keep_ratio=min_keep_ratio,
            )[::-1],
        )
        for group, score in zip(groups, scores, strict=True)
    ]


def fill(
    items: Sequence[GroupSteps],
    cost: Cost,
    kept: Mapping[str, int],
    limit: float,
    worth: Callable[[GroupSteps, int, Mapping[str, int]], float],
) -> dict[str, int]:
    """Give back one step after another, the most valuable first, while the limit holds.

    Args:
        items: The groups.
        cost: A cost, of which a step adds no less when other groups keep more channels.
        kept: Channels that each group keeps, by name.
        limit: Largest cost allowed.
        worth: Value of one step of a group to a larger count, with the channels kept by then.

    Returns:
        Channels that each group keeps; no further step of any group fits, or is worth anything.
    """
    kept = dict(kept)
    open_items = [item for item in items if kept[item.name] < item.counts[-1]]
    while open_items:
        following = {item.name: item.after(kept[item.name]) for item in open_items}
        best, _, item = max(
            ((worth(i, following[i.name], kept), i.name, i) for i in open_items),
            key=lambda each: each[:2],
        )
        if best < 0:
            break
        more = {**kept, item.name: following[item.name]}
        if cost.cost(more) <= limit:
            kept = more
        if kept is not more or kept[item.name] == item.counts[-1]:
            open_items.remove(item)
    return kept


def ascending_channels(group: Prunable, score: Tensor) -> Tensor:
    """Channels from the least important up, those that are pruned together next to each other.

    The best channel of each segment comes last, so that no segment is emptied.
    """
    score = score.cpu()
    per_part = group.size // group.parts
    first = torch.sort(score[:per_part], stable=True).indices
    best = [seg[score[seg].argmax()] % per_part for seg in getattr(group, 'segments', ())]
    if best:
        last = torch.isin(first, torch.stack(best))
        first = torch.cat([first[~last], first[last]])
    offsets = torch.arange(group.parts) * per_part
    return (first[:, None] + offsets).flatten()
