"""Plots of the loss landscapes of several networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from adasap_det.utils.io import atomic_write
from adasap_det.utils.plot_style import SEQUENTIAL, mark

_LEVELS = 13
_COLUMNS = 3
_GREY = '#5b6570'
_PALE = '#d5dae0'


def plot_lines(lines: Mapping[str, Tensor], steps: Sequence[float], path: Path) -> None:
    """A curve for each network, the mean over its directions, in a band from least to most.

    Args:
        lines: Losses by name, each of shape ``(D, S)``; what is not finite is left out.
        steps: The ``S`` steps.
        path: Image file; its suffix sets the format.
    """
    figure = Figure(figsize=(7, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, (name, losses) in enumerate(lines.items()):
        look = mark(index)
        values = _finite(losses)
        axes.fill_between(
            steps, values.min(0), values.max(0), color=look.colour, alpha=0.18, linewidth=0
        )
        axes.plot(
            steps,
            values.mean(0),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=3.5,
            linewidth=1.4,
            label=name,
        )
    least, most = _range(lines.values())
    if _needs_log(least, most):
        axes.set_yscale('log')
    axes.axvline(0, color=_GREY, linewidth=0.8)
    axes.set_xlabel("step, in lengths of each filter's weights")
    axes.set_ylabel('loss')
    axes.grid(axis='y', linewidth=0.4, color=_PALE)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def plot_planes(planes: Mapping[str, Tensor], steps: Sequence[float], path: Path) -> None:
    """A contour map for each network, all with the same levels.

    Args:
        planes: Losses by name, each of shape ``(S, S)``; what is not finite is left out.
        steps: The ``S`` steps along each direction.
        path: Image file; its suffix sets the format.
    """
    least, most = _range(planes.values())
    log = _needs_log(least, most)
    levels = (np.geomspace if log else np.linspace)(least, most, _LEVELS)
    norm = (LogNorm if log else Normalize)(least, most)
    columns = min(_COLUMNS, len(planes))
    rows = math.ceil(len(planes) / columns)
    figure = Figure(figsize=(1.2 + 3.1 * columns, 0.4 + 3.1 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (name, losses) in zip(grid.flat, planes.items(), strict=False):
        values = _finite(losses).clip(least, most)
        filled = axes.contourf(steps, steps, values.T, levels, norm=norm, cmap=SEQUENTIAL)
        axes.contour(steps, steps, values.T, levels, colors='white', linewidths=0.4)
        axes.plot(0, 0, '+', color='white', markersize=9)
        axes.set_title(name, fontsize=9)
        axes.set_aspect('equal')
    for axes in grid.flat[len(planes) :]:
        axes.set_visible(False)
    figure.supxlabel('step along the first direction', fontsize=9)
    figure.supylabel('step along the second', fontsize=9)
    bar = figure.colorbar(filled, ax=grid, label='loss', fraction=0.04)
    ticks = levels[::3].tolist()
    bar.set_ticks(ticks, labels=[f'{tick:.3g}' for tick in ticks])
    bar.minorticks_off()
    _save(figure, path)


def _finite(losses: Tensor) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(losses.numpy())


def _range(losses: Iterable[Tensor]) -> tuple[float, float]:
    """Least and most of all finite losses, a little apart at least."""
    values = np.concatenate([_finite(each).compressed() for each in losses])
    least, most = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return least, max(most, least + 1e-6 * max(1.0, abs(least)))


def _needs_log(least: float, most: float) -> bool:
    return least > 0 and most > 10 * least


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip('.'))
