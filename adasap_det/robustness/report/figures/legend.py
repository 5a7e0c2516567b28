"""Line and marker of each model, for the legend."""

from __future__ import annotations

from matplotlib.figure import Figure

from adasap_det.robustness.report.comparison import Comparison
from adasap_det.robustness.report.figures.svg import SvgFigure, draw
from adasap_det.utils.plot_style import Mark, mark

_WIDTH, _HEIGHT = 34, 14


def line_keys(comparison: Comparison) -> list[SvgFigure]:
    """Draw the line and marker of each model's curve."""
    return [
        _key(f'key-{index}', f'Line of {name}', mark(index))
        for index, name in enumerate(comparison.names)
    ]


def _key(name: str, alt: str, look: Mark) -> SvgFigure:
    def plot(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_axis_off()
        axes.plot([0.06, 0.94], [0.5, 0.5], color=look.colour, linestyle=look.line, linewidth=1.8)
        axes.plot(
            [0.5],
            [0.5],
            color=look.colour,
            marker=look.marker,
            markersize=7,
            markeredgecolor='white',
            markeredgewidth=0.7,
        )

    return draw(name, alt, plot, width=_WIDTH, height=_HEIGHT)
