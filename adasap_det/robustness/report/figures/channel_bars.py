"""Bar chart of remaining and dense channels of each layer."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adasap_det.robustness.report.channel_tables import ChannelTable
from adasap_det.robustness.report.figures.svg import SvgFigure, draw
from adasap_det.robustness.report.text import clean, shorten_start
from adasap_det.utils.plot_style import mark

_WIDTH = 380
_TOP, _BOTTOM = 24, 4
_LEFT = 184  # space for the layer names
_BAR = 7
# Layers per column, for small and for large models.
_FEW, _MANY = 16, 40
_CHARACTER = 6.2


def channel_bars(table: ChannelTable, name: str) -> list[SvgFigure]:
    """Draw the ratio of remaining to dense channels of each layer, one figure per column.

    Args:
        table: Layers of models of the same architecture.
        name: Unique name on the page.
    """
    count = -(-len(table.layers) // _FEW)
    if count > 3:  # a wide page shows three columns side by side, so use a multiple of three
        count = 3 * -(-len(table.layers) // (3 * _MANY))
    rows = -(-len(table.layers) // count)
    return [
        _column(
            table,
            f'{name}-{number}',
            range(start, min(start + rows, len(table.layers))),
            number,
            count,
        )
        for number, start in enumerate(range(0, len(table.layers), rows))
    ]


def _column(
    table: ChannelTable, name: str, layers: Sequence[int], number: int, count: int
) -> SvgFigure:
    bars = len(table.models)
    row = max(15, bars * _BAR + 6)
    height = _TOP + row * len(layers) + _BOTTOM
    texts = {index: _numbers(table, index) for index in layers}
    # Width of a digit of DejaVu Sans at 10 pixels.
    right = _WIDTH - _CHARACTER * max(len('of dense'), *map(len, texts.values())) - 6
    room = right - _LEFT

    def plot(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        for ratio in (0, 0.5, 1):
            axes.text(
                _LEFT + ratio * room, 9, f'{100 * ratio:.0f} %', ha='center', va='center',
                fontsize=10,
            )  # fmt: skip
            axes.plot(
                [_LEFT + ratio * room] * 2,
                [_TOP - 5, height],
                color='#d5dae0',
                linewidth=0.8,
                zorder=0,
            )
        axes.text(_WIDTH, 9, 'of dense', ha='right', va='center', fontsize=10)
        for place, index in enumerate(layers):
            layer, dense = table.layers[index], table.dense[index]
            top = _TOP + place * row
            middle = top + row / 2
            axes.text(
                _LEFT - 8, middle, shorten_start(clean(layer), 28), ha='right',
                va='center_baseline', fontsize=10,
            )  # fmt: skip
            axes.text(_WIDTH, middle, texts[index], ha='right', va='center_baseline', fontsize=10)
            first = middle - bars * _BAR / 2
            for bar, (model, channels) in enumerate(zip(table.models, table.channels, strict=True)):
                y = first + bar * _BAR
                ratio = channels[index] / dense
                axes.add_artist(
                    Rectangle((_LEFT, y), room, _BAR - 1.5, facecolor='#e9ecef', linewidth=0)
                )
                axes.add_artist(
                    Rectangle(
                        (_LEFT, y),
                        room * ratio,
                        _BAR - 1.5,
                        facecolor=mark(model).colour,
                        linewidth=0,
                    )
                )

    part = f', part {number + 1} of {count}' if count > 1 else ''
    alt = f'Bar chart of remaining channels per layer in percent{part}; numbers are in the table'
    return draw(name, alt, plot, width=_WIDTH, height=height)


def _numbers(table: ChannelTable, index: int) -> str:
    """Remaining and dense channels; dense channels only for three or more models."""
    remaining = ', '.join(str(channels[index]) for channels in table.channels)
    return (
        f'{remaining} / {table.dense[index]}'
        if len(table.models) <= 2
        else f'/ {table.dense[index]}'
    )
