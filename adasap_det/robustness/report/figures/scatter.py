"""Scatter plot of clean and corrupted performance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from adasap_det.robustness.report.comparison import Comparison
from adasap_det.robustness.report.figures.labels import place_labels
from adasap_det.robustness.report.figures.svg import FAINT, SvgFigure, draw
from adasap_det.robustness.report.text import shorten
from adasap_det.utils.plot_style import mark

_WIDTH, _HEIGHT = 400, 350
_LARGEST = 15.0  # radius of the largest marker in pixels
_SMALLEST = 3.5


def scatters(comparison: Comparison) -> list[SvgFigure]:
    """Plot corrupted over clean performance, with marker areas by parameters and by latency.

    The latency plot is omitted if latencies are unknown or were measured on different devices.
    """
    figures = []
    for key, title, values in (
        ('params', 'Marker area: parameters', [r.model.params for r in comparison.results]),
        ('latency', 'Marker area: latency', [r.model.latency_ms for r in comparison.results]),
    ):
        if key == 'latency' and not comparison.same_device:
            continue
        if any(value is not None for value in values):
            figure = _scatter(comparison, key, title, values)
            if figure is not None:
                figures.append(figure)
    return figures


def _scatter(
    comparison: Comparison, key: str, title: str, sizes: Sequence[float | None]
) -> SvgFigure | None:
    found = []
    for index in range(len(comparison.names)):
        clean, mean = comparison.clean(index), comparison.mean(index)
        if clean is not None and mean is not None:
            found.append((index, 100 * clean, 100 * mean))
    if not found:
        return None
    largest = max((size for size in sizes if size is not None), default=0) or 1
    mean_name = 'mPC' if comparison.complete else f'mean over {len(comparison.shared)} of 75 cells'

    def plot(figure: Figure) -> None:
        axes = figure.add_axes(
            (52 / _WIDTH, 48 / _HEIGHT, (_WIDTH - 64) / _WIDTH, (_HEIGHT - 82) / _HEIGHT)
        )
        axes.set_title(title, pad=10, x=-42 / (_WIDTH - 64))
        xlim = _limits([x for _, x, _ in found])
        ylim = _limits([y for _, _, y in found])
        axes.set(xlim=xlim, ylim=ylim)
        axes.set_xlabel(f'clean {comparison.metric} (P), %', labelpad=5)
        axes.set_ylabel(f'corrupted {comparison.metric} ({mean_name}), %', labelpad=5)
        axes.tick_params(length=3)
        _ratio_lines(axes, xlim, ylim, comparison.complete)
        radii = []
        for index, x, y in found:
            look, size = mark(index), sizes[index]
            radius = max(_LARGEST * math.sqrt(size / largest), _SMALLEST) if size is not None else 5
            radii.append(radius)
            axes.scatter(
                [x],
                [y],
                s=(2 * radius) ** 2,
                marker='o',
                facecolor=look.colour if size is not None else 'white',
                edgecolor=look.colour if size is None else 'white',
                linewidth=1.2,
                alpha=0.9,
                zorder=4,
            )
        place_labels(
            axes,
            [(x, y) for _, x, y in found],
            [shorten(comparison.names[index], 26) for index, _, _ in found],
            radii=radii,
            colours=['#1f2933'] * len(found),
        )

    alt = (
        f'Scatter plot of {mean_name} over clean {comparison.metric}, in percent; '
        f'{title[0].lower()}{title[1:]}; '
        + '; '.join(f'{comparison.names[i]}: {x:.1f}, {y:.1f}' for i, x, y in found)
    )
    return draw(f'scatter-{key}', alt, plot, width=_WIDTH, height=_HEIGHT)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return axis limits with a margin for markers and labels, at least 6 points wide."""
    low, high = min(values), max(values)
    pad = max(0.3 * (high - low), 3 - (high - low) / 2, 1)
    return low - pad, high + pad


def _ratio_lines(axes, xlim, ylim, complete: bool) -> None:  # type: ignore[no-untyped-def]
    """Draw faint lines of equal rPC, labelled at the edge of the axes."""
    low = max(ylim[0], 0) / xlim[1]
    high = ylim[1] / max(xlim[0], 1e-3)
    step = next((s for s in (0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 6), 0.25)
    for number in range(math.ceil(low / step), math.floor(min(high, 1) / step) + 1):
        value = number * step
        axes.plot(xlim, [value * x for x in xlim], color=FAINT, linewidth=0.8, zorder=1)
        right = min(xlim[1], ylim[1] / value if value else math.inf)
        at_top = right < xlim[1]
        text = f'{100 * value:.0f} %'
        axes.annotate(
            f'rPC {text}' if complete else text,
            (right, value * right),
            xytext=(-3, -2 if at_top else 2),
            textcoords='offset pixels',
            ha='right',
            va='top' if at_top else 'bottom',
            fontsize=10,
            color='#6b7680',
            bbox=dict(facecolor='white', linewidth=0, pad=1),
            zorder=1,
        )
    axes.set(xlim=xlim, ylim=ylim)
