"""Sensitivity: loss or accuracy of the network with one channel group pruned at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.io import atomic_write

from .budgets.selection import ascending_channels, possible_counts
from .graph.channel_group import ChannelGroup
from .importance import Importance
from .surgery import prune_channels

RATIOS = (0.75, 0.5, 0.25)

_ROW = 0.22
"""Inches per group."""


@dataclass(frozen=True)
class Sensitivity:
    """One group with fewer channels, the others unpruned.

    Attributes:
        group: Name of the group.
        channels: Channels left.
        size: Channels of the unpruned group.
        value: Loss or metric of the network then.
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
    ratios: Sequence[float] = RATIOS,
    round_to: int = 1,
) -> Iterator[Sensitivity]:
    """Prune each group alone, the least important channels first, and measure the network.

    Args:
        model: The model; it is not changed.
        groups: Its channel groups.
        importance: Which channels go first.
        measure: Loss or accuracy of a network.
        ratios: Ratios of a group's channels that stay.
        round_to: Channels left are multiples of this.
    """
    scores = importance.scores(groups, model)
    for group, score in zip(groups, scores, strict=True):
        counts = possible_counts(group, round_to=round_to, min_keep_ratio=0.0)
        order = ascending_channels(group, score)
        for count in dict.fromkeys(_nearest(counts, ratio * group.size) for ratio in ratios):
            narrow = copy_unwrapped(model)
            prune_channels(narrow, groups, {group.name: order[group.size - count :].sort().values})
            yield Sensitivity(group.name, count, group.size, measure(narrow))


def _nearest(counts: Sequence[int], wanted: float) -> int:
    return min(counts, key=lambda count: abs(count - wanted))


def plot_sensitivity(
    rows: Sequence[Sensitivity], path: Path, *, full: float, label: str = 'loss'
) -> None:
    """Draw one row per group and one mark per measurement; the line is the unpruned network.

    Args:
        rows: Measurements.
        path: Image file; its suffix sets the format.
        full: Loss or metric of the unpruned network.
        label: Name of what was measured.
    """
    names = list(dict.fromkeys(row.group for row in rows))
    figure = Figure(figsize=(8, 1.2 + _ROW * len(names)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = axes.scatter(
        [row.value for row in rows],
        [names.index(row.group) for row in rows],
        c=[row.channels / row.size for row in rows],
        cmap='cividis',
        vmin=0,
        vmax=1,
        s=22,
    )
    axes.axvline(full, color='#5b6570', linewidth=0.8, label='unpruned network')
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(f'{label} with only this group pruned')
    axes.grid(axis='y', linewidth=0.4, color='#d5dae0')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.colorbar(points, ax=axes, label='ratio of channels left', fraction=0.04)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip('.'))
