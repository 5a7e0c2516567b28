"""Outlines of the shapes in the embedded data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Corners of a polygon, shape ``(N, 2)``, as (x, y)."""


def _on_circle(count: int, radius: float = 1.0, start: float = -np.pi / 2) -> Points:
    angles = start + 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _circle() -> list[Points]:
    return [_on_circle(72)]


def _square() -> list[Points]:
    return [np.array([[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]])]


def _triangle() -> list[Points]:
    return [_on_circle(3, 1.1)]


def _star() -> list[Points]:
    tips = _on_circle(5, 1.1)
    dents = _on_circle(5, 0.48, start=-np.pi / 2 + np.pi / 5)
    return [np.stack([tips, dents], axis=1).reshape(10, 2)]


def _cross() -> list[Points]:
    a, b = 0.34, 1.0
    arm = [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a]]
    return [np.array(arm + [[-x, -y] for x, y in arm])]


def _ring() -> list[Points]:
    return [_on_circle(72), _on_circle(72, 0.55)]


_OUTLINES: dict[str, Callable[[], list[Points]]] = {
    'circle': _circle,
    'square': _square,
    'triangle': _triangle,
    'star': _star,
    'cross': _cross,
    'ring': _ring,
}

SHAPE_CLASSES: tuple[str, ...] = tuple(_OUTLINES)
"""Class names of the data set, in the order of their labels."""


def outline(name: str) -> list[Points]:
    """Return the contours of a shape around the origin, about one unit in radius.

    Args:
        name: One of :data:`SHAPE_CLASSES`.

    Returns:
        One closed polygon, or two, the second of them a hole.

    Raises:
        ValueError: If there is no such shape.
    """
    if name not in _OUTLINES:
        raise ValueError(f'unknown shape {name!r}; choose from {", ".join(SHAPE_CLASSES)}')
    return _OUTLINES[name]()


def place(
    contours: list[Points],
    *,
    centre: tuple[float, float],
    radius: float,
    angle: float = 0.0,
    stretch: float = 1.0,
) -> list[Points]:
    """Stretch, rotate, scale and move contours, in this order.

    Args:
        contours: Polygons around the origin.
        centre: New position of the origin, (x, y) in pixels.
        radius: Pixels per unit.
        angle: Rotation in radians, clockwise as seen on screen.
        stretch: Factor on the width; the height is divided by it.

    Returns:
        The polygons in pixels; pixel (0, 0) spans 0 to 1 in both directions.
    """
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = radius * rotation @ np.diag([stretch, 1 / stretch])
    return [points @ matrix.T + np.asarray(centre) for points in contours]


def area(contours: list[Points]) -> float:
    """Area of a polygon without its hole, in square pixels (shoelace formula)."""
    areas = []
    for points in contours:
        x, y = points[:, 0], points[:, 1]
        areas.append(abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2)
    return areas[0] - sum(areas[1:])
