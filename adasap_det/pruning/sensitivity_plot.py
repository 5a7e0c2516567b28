"""The sensitivity of every channel group as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adasap_det.utils.io import atomic_write

from .sensitivity import Sensitivity

_ROW = 0.22
"""Inches a group."""


def plot_sensitivity(
    rows: Sequence[Sensitivity], path: Path, *, whole: float, label: str = 'loss'
) -> None:
    """One row a group, one mark a measurement; the line is the whole network.

    Args:
        rows: Measurements.
        path: Image file; its suffix says the format.
        whole: What the whole network is worth.
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
    axes.axvline(whole, color='#5b6570', linewidth=0.8, label='whole network')
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(f'{label} with this group cut alone')
    axes.grid(axis='y', linewidth=0.4, color='#d5dae0')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.colorbar(points, ax=axes, label='share of channels left', fraction=0.04)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip('.'))
