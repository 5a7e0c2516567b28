"""Corruption x severity heat maps of each model and of differences between models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adasap_det.robustness.report.comparison import Comparison, Key
from adasap_det.robustness.report.figures.svg import SvgFigure, draw
from adasap_det.robustness.report.text import (
    NONE,
    corruption_name,
    percent,
    points,
    shorten,
)
from adasap_det.utils.plot_style import DIVERGING, SEQUENTIAL, ink_on

_WIDTH = 360
_ROW = 22
_GAP = 6  # between families
_LEFT, _TOP, _BOTTOM, _MEAN_GAP = 122, 56, 8, 6
# Up to this number of models every pair is shown; with more, each against the baseline.
_ALL_PAIRS = 3


def heat_maps(comparison: Comparison) -> list[SvgFigure]:
    """Draw one heat map per model, all on the same scale; empty without corrupted cells."""
    found = [value for cells in comparison.values for value in cells.values()]
    if not found:
        return []
    scale = Normalize(min(found), max(max(found), min(found) + 0.01))
    return [
        _heat_map(
            comparison,
            f'heat-{index}',
            title=name,
            alt=f'{comparison.metric} of {name} in percent, by corruption and severity',
            cells=comparison.values[index],
            colour=lambda value: colormaps[SEQUENTIAL](scale(value)),
            write=percent,
        )
        for index, name in enumerate(comparison.names)
    ]


def difference_maps(comparison: Comparison) -> list[SvgFigure]:
    """Draw differences in percentage points, all on the same scale.

    With up to three models every pair is shown; with more, each model against the baseline.
    """
    order = (comparison.baseline, *comparison.others)
    pairs = list(combinations(order, 2))
    if len(order) > _ALL_PAIRS:
        pairs = [(comparison.baseline, other) for other in comparison.others]
    maps = {pair: _differences(comparison, *pair) for pair in pairs}
    found = [abs(value) for cells in maps.values() for value in cells.values()]
    if not found:
        return []
    limit = max(*found, 0.01) if len(found) > 1 else max(found[0], 0.01)
    # Avoid the ends of the colour map, which are too dark to tell values apart.
    scale = Normalize(-1.15 * limit, 1.15 * limit)
    figures = []
    for (base, other), cells in maps.items():
        first, second = comparison.names[base], comparison.names[other]
        figures.append(
            _heat_map(
                comparison,
                f'difference-{base}-{other}',
                title=second,
                subtitle=f'minus {first}',
                alt=f'{comparison.metric} of {second} minus {first}, in percentage points, by '
                'corruption and severity',
                cells=cells,
                colour=lambda value: colormaps[DIVERGING](scale(value)),
                write=points,
            )
        )
    return figures


def _differences(comparison: Comparison, base: int, other: int) -> dict[Key, float]:
    first, second = comparison.values[base], comparison.values[other]
    return {key: second[key] - first[key] for key in second if key in first}


def _heat_map(
    comparison: Comparison,
    name: str,
    *,
    title: str,
    alt: str,
    cells: Mapping[Key, float],
    colour: Callable[[float], tuple[float, float, float, float]],
    write: Callable[[float | None], str],
    subtitle: str = '',
) -> SvgFigure:
    severities = comparison.severities
    several = len(severities) > 1
    families = comparison.families
    rows = sum(len(members) for members in families.values())
    height = _TOP + rows * _ROW + (len(families) - 1) * _GAP + _BOTTOM
    room = _WIDTH - _LEFT - 2 - (_MEAN_GAP if several else 0)
    column = room / (len(severities) + several)

    def plot(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        axes.text(0, 12, shorten(title, 44), fontsize=12, fontweight='bold', va='center')
        axes.text(0, 29, shorten(subtitle, 52), fontsize=10.5, va='center')
        heads = [str(severity) for severity in severities] + ['mean'] * several
        lefts = [_LEFT + i * column for i in range(len(severities))]
        lefts += [_LEFT + len(severities) * column + _MEAN_GAP] * several
        for head, left in zip(heads, lefts, strict=True):
            axes.text(left + column / 2, _TOP - 9, head, ha='center', va='center', fontsize=10.5)
        top = float(_TOP)
        for members in families.values():
            for corruption in members:
                middle = top + _ROW / 2
                axes.text(
                    _LEFT - 7,
                    middle,
                    corruption_name(corruption),
                    ha='right',
                    va='center_baseline',
                    fontsize=10.5,
                )
                row = [cells.get((corruption, severity)) for severity in severities]
                known = [value for value in row if value is not None]
                if several:
                    row.append(sum(known) / len(row) if len(known) == len(row) else None)
                for left, value in zip(lefts, row, strict=True):
                    _cell(axes, left, top, column, value, colour, write)
                top += _ROW
            top += _GAP

    return draw(name, alt, plot, width=_WIDTH, height=height)


def _cell(axes, left, top, width, value, colour, write) -> None:  # type: ignore[no-untyped-def]
    fill = '#ffffff' if value is None else colour(value)
    ink = '#6b7680' if value is None else ink_on(*fill[:3])  # type: ignore[misc]
    axes.add_artist(
        Rectangle(
            (left + 0.75, top + 0.75),
            width - 1.5,
            _ROW - 1.5,
            facecolor=fill,
            edgecolor='#c3c9d0' if value is None else 'none',
            linewidth=0.6 if value is None else 0,
        )
    )
    text = NONE if value is None else write(value)
    axes.text(
        left + width / 2, top + _ROW / 2, text, color=ink, ha='center', va='center_baseline',
        fontsize=10.5,
    )  # fmt: skip
