"""What each channel group's loss of channels does to the network, one group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from adasap_det.utils.copy_unwrapped import copy_unwrapped

from .budgets.selection import ascending_channels, possible_counts
from .graph.channel_group import ChannelGroup
from .importance import Importance
from .surgery import prune_channels

SHARES = (0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Sensitivity:
    """One group with fewer channels, the others whole.

    Attributes:
        group: Name of the group.
        channels: Channels left.
        size: Channels of the whole group.
        value: What the network is worth then, by whatever it was measured with.
    """

    group: str
    channels: int
    size: int
    value: float


def sensitivity(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    importance: Importance,
    measure: Callable[[nn.Module], float],
    *,
    shares: Sequence[float] = SHARES,
    round_to: int = 1,
) -> Iterator[Sensitivity]:
    """Cut each group alone, the least important channels first, and measure the network.

    Args:
        model: The whole model; it is not touched.
        groups: Its channel groups.
        importance: Which channels go first.
        measure: Loss or accuracy of a network.
        shares: Shares of a group's channels that stay.
        round_to: Channels left are multiples of this.
    """
    scores = importance.scores(groups, model)
    for group, score in zip(groups, scores, strict=True):
        counts = possible_counts(group, round_to=round_to, min_keep_ratio=0.0)
        order = ascending_channels(group, score)
        for count in dict.fromkeys(_nearest(counts, share * group.size) for share in shares):
            narrow = copy_unwrapped(model)
            prune_channels(narrow, groups, {group.name: order[group.size - count :].sort().values})
            yield Sensitivity(group.name, count, group.size, measure(narrow))


def _nearest(counts: Sequence[int], wanted: float) -> int:
    return min(counts, key=lambda count: abs(count - wanted))
