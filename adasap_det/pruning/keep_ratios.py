"""Channels of groups whose ratio the user sets, rather than the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from adasap_det.utils.name_patterns import matches

from .budgets.selection import possible_counts
from .graph.channel_group import ChannelGroup


def match_keep_ratios(
    keep_ratios: Mapping[str, float],
    groups: Sequence[ChannelGroup],
    skipped: Mapping[str, str],
) -> dict[str, float]:
    """Ratio of the channels that are kept, by name of each group that has a pattern.

    Args:
        keep_ratios: Ratio by name pattern (``fnmatch``) of layers. A group has the ratio of a
            pattern that matches one of its layers.
        groups: The model's channel groups.
        skipped: Reasons by layer for which channels are not pruned.

    Raises:
        ValueError: If a ratio is outside (0, 1], a pattern matches no group, or two match one.
    """
    pattern_of: dict[str, str] = {}
    for pattern, ratio in keep_ratios.items():
        if not 0 < ratio <= 1:
            raise ValueError(
                f'keep_ratios[{pattern!r}] is the ratio of the channels that are kept and must lie '
                f'in (0, 1], got {ratio}'
            )
        found = [g.name for g in groups if any(matches(layer, [pattern]) for layer in g.layers)]
        if not found:
            raise ValueError(_no_group(pattern, groups, skipped))
        for name in found:
            if name in pattern_of:
                raise ValueError(
                    f'keep_ratios patterns {pattern_of[name]!r} and {pattern!r} both match '
                    f'channel group {name}; leave one'
                )
            pattern_of[name] = pattern
    return {name: keep_ratios[pattern] for name, pattern in pattern_of.items()}


def kept_counts(
    groups: Sequence[ChannelGroup],
    ratios: Mapping[str, float],
    *,
    dense_sizes: Mapping[str, int],
    done: float,
    round_to: int,
) -> dict[str, int]:
    """Channels kept of the groups that have a ratio, by name.

    The largest possible number of channels that is not above the ratio, and at least one step
    (``round_to``, or what the group's parts require).

    Args:
        groups: The channel groups as they are now.
        ratios: Final ratio by group name.
        dense_sizes: Channels of each group in the dense model, which the ratios refer to.
        done: Fraction of the way to the final ratios: 0 keeps all channels, 1 the final ratio.
        round_to: See :class:`~adasap_det.pruning.Pruner`.
    """
    counts = {}
    for group in groups:
        if group.name in ratios:
            ratio = 1 - done * (1 - ratios[group.name])
            # 0.29 * 100 is 28.999999999999996.
            wanted = math.floor(ratio * dense_sizes[group.name] + 1e-6)
            possible = possible_counts(group, round_to=round_to, min_keep_ratio=0.0)
            counts[group.name] = next((n for n in possible if n <= wanted), possible[-1])
    return counts


def _no_group(pattern: str, groups: Sequence[ChannelGroup], skipped: Mapping[str, str]) -> str:
    reasons = [f'{layer} ({why})' for layer, why in skipped.items() if matches(layer, [pattern])]
    if reasons:
        return f'keep_ratios pattern {pattern!r} matches only skipped layers: {_few(reasons)}'
    names = _few([layer for group in groups for layer in group.layers])
    return f'keep_ratios pattern {pattern!r} matches no layer of a channel group; there are {names}'


def _few(names: Sequence[str], most: int = 10) -> str:
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
