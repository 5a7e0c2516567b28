"""Shared look of the guide's figures; each SVG carries the data it shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

FIGURES = Path(__file__).parents[1] / 'figures'
GREY = '#5b6570'
PALE = '#eef1f4'
_DESCRIPTION = '{http://purl.org/dc/elements/1.1/}description'

Data = dict[str, Any]
"""Numbers and lists of numbers by name."""


def blank(width: float = 7, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; sizes in inches."""
    figure, (axes,) = stacked([height], width=width)
    return figure, axes


def stacked(heights: Sequence[float], *, width: float = 7) -> tuple[Figure, list[Axes]]:
    """A figure with stacked axes that share the x axis; sizes in inches."""
    figure = Figure(figsize=(width, sum(heights)), layout='constrained')
    FigureCanvasSVG(figure)
    shape = dict(height_ratios=heights, sharex=True, squeeze=False)
    panels = list(figure.subplots(len(heights), **shape)[:, 0])
    for axes in panels:
        axes.spines[['top', 'right']].set_visible(False)
    return figure, panels


def save(figure: Figure, path: Path, data: Data) -> None:
    """Write a reproducible SVG with its data as its description."""
    metadata = {'Date': None, 'Creator': None, 'Description': json.dumps(data)}
    with matplotlib.rc_context({'svg.hashsalt': 'adasap_det', 'svg.fonttype': 'none'}):
        figure.savefig(path, format='svg', metadata=metadata)


def data_of(path: Path) -> Data:
    """The data that :func:`save` stored in the file."""
    (found,) = ElementTree.parse(path).iter(_DESCRIPTION)
    return json.loads(found.text or '')


def rounded(values: Any) -> list[float]:
    """Values rounded to six significant digits."""
    return [float(f'{float(value):.6g}') for value in values]
