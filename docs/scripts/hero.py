"""Draws the idea of AdaSAP: perturb the least important channels most, prune them, end up flat.

The radii of the balls are those of ``adaptive_radius``.

python docs/scripts/hero.py
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from drawing import FIGURES, GREY, Data, rounded, save
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

from adasap_det.optim import adaptive_radius
from adasap_det.utils.plot_style import mark

NODE = 0.15
IMPORTANT, UNIMPORTANT, REMOVED = mark(2).colour, mark(6).colour, '#b9c1c9'
LAYERS = (3, 6, 6, 3)
#: Importance of the channels of the two inner layers; input and output are not pruned.
IMPORTANCE = ((0.95, 0.15, 0.7, 0.05, 0.85, 0.25), (0.2, 0.9, 0.1, 0.75, 0.3, 1.0))
KEEP_RATIO = 0.5
STEPS = (
    ('1  Dense network', 'dark: important channels'),
    ('2  Adaptive perturbation', 'large balls around unimportant ones'),
    ('3  Prune', 'remove the least important channels'),
    ('4  Compact and flat', 'fine-tune with one ball for all weights'),
)


def data() -> Data:
    """Importance and radius of each inner channel, and whether it is kept."""
    scores = torch.tensor(IMPORTANCE)
    radii = adaptive_radius([scores.flatten()], rho_min=0.2, rho_max=0.48)
    least = scores.flatten().quantile(1 - KEEP_RATIO)
    return {
        'importance': rounded(scores.flatten()),
        'radius': rounded(radii),
        'kept': [bool(score > least) for score in scores.flatten()],
    }


def draw(found: Data, path: Path) -> None:
    """Write the figure."""
    figure = Figure(figsize=(11, 4.4), facecolor='white')
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 22)
    axes.set_ylim(0, 8.8)
    axes.set_aspect('equal')
    axes.axis('off')
    for index, (title, line) in enumerate(STEPS):
        left = 0.55 + 5.45 * index
        axes.text(left + 2.3, 8.2, title, ha='center', fontsize=13, weight='bold', color='#1f2933')
        axes.text(left + 2.3, 7.65, line, ha='center', fontsize=9, color=GREY)
        _draw_network(axes, found, left, step=index)
        if index < len(STEPS) - 1:
            _arrow(axes, (left + 4.65, 5.0), (left + 5.4, 5.0))
    _draw_valley(axes, 2.85, width=0.35, label='sharp minimum')
    _draw_valley(axes, 19.2, width=1.5, label='flat minimum')
    _arrow(axes, (5.2, 1.25), (16.8, 1.25))
    note = 'each step follows the gradient at the perturbed weights'
    axes.text(11, 1.5, note, ha='center', fontsize=10.5, color=GREY)
    save(figure, path, found)


def _draw_network(axes: Axes, found: Data, left: float, *, step: int) -> None:
    importance, radii, kept = (iter(found[key]) for key in ('importance', 'radius', 'kept'))
    channels = []
    for layer, size in enumerate(LAYERS):
        inner = 0 < layer < len(LAYERS) - 1
        column = []
        for row in range(size):
            at = (left + 0.35 + 1.3 * layer, 5.0 + 0.84 * ((size - 1) / 2 - row))
            score, radius, stays = (
                (next(importance), next(radii), next(kept)) if inner else (1.0, 0.2, True)
            )
            column.append((at, score, radius, stays, inner))
        channels.append(column)
    if step == len(STEPS) - 1:
        channels = [_spread([c for c in column if c[3]]) for column in channels]
    for before, after in itertools.pairwise(channels):
        for start, _, _, first, _ in before:
            for end, _, _, second, _ in after:
                if step < 2 or (first and second):
                    axes.plot(*zip(start, end, strict=True), color='#c9d0d7', lw=0.7, zorder=1)
    for column in channels:
        for at, score, radius, stays, inner in column:
            if step == 1 and inner:
                ball = dict(facecolor=mark(5).colour, edgecolor=mark(1).colour, alpha=0.38)
                axes.add_patch(Circle(at, radius, zorder=2, lw=0.8, **ball))
            _draw_channel(axes, at, score, removed=step == 2 and not stays, inner=inner)


def _spread(column: list) -> list:
    """The channels left, moved together around the middle."""
    middle = (len(column) - 1) / 2
    return [((c[0][0], 5.0 + 0.84 * (middle - row)), *c[1:]) for row, c in enumerate(column)]


def _draw_channel(
    axes: Axes, at: tuple[float, float], score: float, *, removed: bool, inner: bool
) -> None:
    if removed:
        axes.add_patch(Circle(at, NODE, facecolor='white', edgecolor=REMOVED, ls=(0, (2, 2))))
        axes.plot(*at, marker='x', color=mark(1).colour, markersize=7, zorder=4)
        return
    colour = (IMPORTANT if score > 0.5 else UNIMPORTANT) if inner else GREY
    axes.add_patch(Circle(at, NODE, facecolor=colour, edgecolor='white', lw=0.8, zorder=3))


def _draw_valley(axes: Axes, middle: float, *, width: float, label: str) -> None:
    x = np.linspace(-2, 2, 161)
    axes.plot(middle + x, 0.75 + 1.25 * (1 - np.exp(-((x / width) ** 2))), color=GREY, lw=1.6)
    axes.plot(middle, 0.9, marker='o', color=mark(1).colour, markersize=7)
    axes.text(middle, 0.2, label, ha='center', fontsize=10.5, color='#1f2933')


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = dict(arrowstyle='-|>', mutation_scale=14, color=GREY, lw=1.4)
    axes.add_patch(FancyArrowPatch(start, end, **arrow))


if __name__ == '__main__':
    draw(data(), FIGURES / 'hero.svg')
