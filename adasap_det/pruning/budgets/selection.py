"""Selection of the channels to keep within a cost. Independent of OpenMMLab."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


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
) -> dict[str, Tensor]:
    """Keep the most important channels that the limit allows, over all groups together.

    Channels are removed in steps of ``round_to``, least important step first (by its mean score),
    until the cost is within ``limit``.

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

    Returns:
        Channels to keep, ascending, by group name.

    Raises:
        ValueError: If even the fewest channels allowed cost more than ``limit``.
    """
    order = {g.name: ascending_channels(g, s) for g, s in zip(groups, scores, strict=True)}
    steps: list[tuple[float, str, int]] = []  # (mean score, group, channels left)
    for group, score in zip(groups, scores, strict=True):
        dense = (dense_sizes or {}).get(group.name, group.size)
        counts = possible_counts(
            group, dense=dense, round_to=round_to, min_keep_ratio=min_keep_ratio
        )
        # Cumulative sums of the ascending scores give every step's mean at once.
        total = torch.cat([torch.zeros(1), score.cpu()[order[group.name]].double().cumsum(0)])
        worst = -math.inf
        for before, after in itertools.pairwise(counts):
            gone, then = group.size - before, group.size - after
            worst = max(worst, float(total[then] - total[gone]) / (then - gone))
            steps.append((worst, group.name, after))
    steps.sort(key=lambda step: (step[0], step[1], -step[2]))

    def kept_after(count: int) -> dict[str, int]:
        kept = {group.name: group.size for group in groups}
        for _, name, left in steps[:count]:
            kept[name] = left
        return kept

    # Cost falls with every step, so the first count of steps that suffices is found by bisection.
    needed = bisect.bisect_left(
        range(len(steps) + 1), True, key=lambda count: cost.cost(kept_after(count)) <= limit
    )
    if needed > len(steps):
        raise ValueError(
            f'a cost of {limit:.4g} cannot be reached: with the fewest channels allowed it is '
            f'{cost.cost(kept_after(len(steps))):.4g}'
        )
    kept = kept_after(needed)
    return {g.name: order[g.name][g.size - kept[g.name] :].sort().values for g in groups}


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
