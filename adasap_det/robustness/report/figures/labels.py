"""Place labels next to the points of a scatter plot without overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import cast

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

_DISTANCES = (5, 14, 26, 42, 60, 80)
# Degrees, best first: right, left, below, above, then between.
_ANGLES = (0, 180, -90, 90, -40, 40, -140, 140, -65, 65, -115, 115)


def place_labels(
    axes: Axes,
    positions: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    radii: Sequence[float],
    colours: Sequence[str],
    fontsize: float = 10.5,
) -> None:
    """Label each point, inside the axes and without covering points or other labels.

    A label far from its point gets a thin leader line. If no free position is found, the one with
    the least overlap is used.

    Args:
        axes: Axes with fixed limits and position.
        positions: Points in data coordinates.
        texts: Label of each point.
        radii: Radius of each marker, in pixels.
        colours: Colour of each label.
        fontsize: Font size in pixels.
    """
    renderer = cast(FigureCanvasAgg, axes.figure.canvas).get_renderer()
    frame = axes.get_window_extent(renderer)
    centres = [tuple(axes.transData.transform(position)) for position in positions]
    marks = [
        Bbox.from_extents(x - r, y - r, x + r, y + r)
        for (x, y), r in zip(centres, radii, strict=True)
    ]
    taken = list(marks)
    for index, (x, y) in enumerate(centres):
        label = axes.annotate(
            texts[index],
            positions[index],
            xytext=(0, 0),
            textcoords='offset pixels',
            ha='left',
            va='bottom',
            fontsize=fontsize,
            color=colours[index],
            zorder=5,
        )
        size = label.get_window_extent(renderer)
        best, cost = (0.0, 0.0), math.inf
        for distance, angle in product(_DISTANCES, _ANGLES):
            box = _beside(x, y, size.width, size.height, radii[index] + distance, angle)
            overlap = sum(_overlap(box, other) for other in taken) + 3 * _outside(box, frame)
            if overlap < cost:
                best, cost = (box.x0 - x, box.y0 - y), overlap
                far = distance > _DISTANCES[1]
            if not overlap:
                break
        label.set_position(best)
        box = Bbox.from_bounds(x + best[0], y + best[1], size.width, size.height)
        taken.append(box)
        if far:
            near = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
            axes.plot(
                *zip(positions[index], axes.transData.inverted().transform(near), strict=True),
                color=colours[index],
                linewidth=0.7,
                zorder=2,
            )


def _beside(x: float, y: float, width: float, height: float, distance: float, angle: float) -> Bbox:
    """Return the box of a text at a distance and angle from a point."""
    dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    left = x + distance * dx + width * (dx - 1) / 2
    bottom = y + distance * dy + height * (dy - 1) / 2
    return Bbox.from_bounds(left, bottom, width, height)


def _overlap(box: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(box, other)
    return 0.0 if common is None else max(common.width * common.height, 1e-6)


def _outside(box: Bbox, frame: Bbox) -> float:
    return box.width * box.height - _overlap(box, frame) if not _inside(box, frame) else 0.0


def _inside(box: Bbox, frame: Bbox) -> bool:
    return box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
