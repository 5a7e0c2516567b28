"""Severity curves: the metric from clean images to severity 5."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from adasap_det.robustness.report.comparison import Comparison
from adasap_det.robustness.report.figures.svg import SvgFigure, draw
from adasap_det.robustness.report.text import corruption_name, shorten
from adasap_det.utils.plot_style import mark

_WIDTH, _HEIGHT = 360, 250


def severity_curves(comparison: Comparison) -> list[SvgFigure]:
    """Draw the mean over all benchmark corruptions, then over each family, on the same scale.

    A point is drawn if all models have all corruptions of the panel at that severity.
    """
    panels = _panels(comparison)
    data = [
        [
            [comparison.of_severity(model, s, members) for s in (0, *comparison.severities)]
            for model in range(len(comparison.names))
        ]
        for _, _, members in panels
    ]
    # Omit panels that have only clean values.
    shown = [
        (panel, lines)
        for panel, lines in zip(panels, data, strict=True)
        if any(value is not None for line in lines for value in line[1:])
    ]
    known = [v for _, lines in shown for line in lines for v in line if v is not None]
    top = min(100, 5 * math.ceil((100 * max(known, default=0) + 2) / 5))
    return [_panel(comparison, *panel, lines, max(top, 5)) for panel, lines in shown]


def _panels(comparison: Comparison) -> list[tuple[str, str, tuple[str, ...]]]:
    """Key, title and corruptions of each panel, without corruptions that lack severities."""
    shared = {*comparison.shared, *comparison.shared_held_out}
    severities = {severity for _, severity in shared}
    families = {
        family: tuple(c for c in members if all((c, severity) in shared for severity in severities))
        or tuple(c for c in members if any((c, severity) in shared for severity in severities))
        for family, members in comparison.families.items()
    }
    families = {family: members for family, members in families.items() if members}
    usual = tuple(
        c for family, members in families.items() if family != 'held out' for c in members
    )
    panels = []
    if len(families) > 1 and usual:
        panels.append(('all', f'Mean over {len(usual)} corruptions', usual))
    for family, members in families.items():
        title = family.capitalize()
        if len(members) < len(comparison.families[family]):
            title += f': {", ".join(map(corruption_name, members))}'
        panels.append((family.replace(' ', '-'), title, members))
    return panels


def _panel(
    comparison: Comparison,
    key: str,
    title: str,
    corruptions: Sequence[str],
    lines: Sequence[Sequence[float | None]],
    top: float,
) -> SvgFigure:
    xs = (0, *comparison.severities)

    def plot(figure: Figure) -> None:
        axes = figure.add_axes(
            (44 / _WIDTH, 40 / _HEIGHT, (_WIDTH - 54) / _WIDTH, (_HEIGHT - 72) / _HEIGHT)
        )
        axes.set_title(shorten(title, 46), pad=10, x=-34 / (_WIDTH - 54))
        for index, line in enumerate(lines):
            look = mark(index)
            axes.plot(
                xs,
                [math.nan if value is None else 100 * value for value in line],
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markersize=6,
                markeredgecolor='white',
                markeredgewidth=0.7,
                linewidth=1.8,
                clip_on=False,
                zorder=3,
            )
        axes.set(ylim=(0, top), xlim=(-0.15, max(xs) + 0.15), xticks=xs)
        axes.set_xticklabels(['clean', *map(str, xs[1:])])
        axes.set_xlabel('severity', labelpad=3)
        axes.tick_params(length=3)
        axes.grid(axis='y')

    names = ', '.join(corruption_name(name) for name in corruptions)
    alt = (
        f'Curves of {comparison.metric} in percent over severity, {title.lower()} ({names}), '
        f'for {", ".join(comparison.names)}'
    )
    return draw(f'curve-{key}', alt, plot, width=_WIDTH, height=_HEIGHT)
