"""Draws the adaptive stage's radius against the importance, computed by ``adaptive_radius``.

python docs/scripts/radius_by_importance.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from drawing import FIGURES, Data, blank, rounded, save

from adasap_det.optim import adaptive_radius
from adasap_det.optim.radii import RADIUS_RATIO
from adasap_det.utils.plot_style import mark

LINES = {
    'rank': ('-', "radius_map='rank'"),
    'linear': ('--', "radius_map='linear', the paper's"),
    'inverse': (':', "'rank' in the stage 'inverse', for ablations"),
}


def data() -> Data:
    """Radii of eleven channels, few of which have a large score."""
    scores = torch.linspace(0, 1, 11) ** 3
    radii = {
        name: rounded(
            adaptive_radius(
                [scores],
                rho_min=1 / RADIUS_RATIO,
                rho_max=1.0,
                radius_map='linear' if name == 'linear' else 'rank',
                inverse=name == 'inverse',
            )
        )
        for name in LINES
    }
    return {'importance': rounded(scores), **radii}


def draw(found: Data, path: Path) -> None:
    """Write the figure."""
    figure, axes = blank()
    for index, (name, (line, label)) in enumerate(LINES.items(), 1):
        look = mark(index)
        axes.plot(
            found['importance'],
            found[name],
            color=look.colour,
            marker=look.marker,
            linestyle=line,
            label=label,
        )
    axes.set_xlabel('importance of the channel, scaled to [0, 1] over the network')
    axes.set_ylabel('radius of its ball, relative to the largest')
    axes.set_ylim(0, 1.4)
    axes.legend(frameon=False, fontsize=9, loc='upper center')
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'radius_by_importance.svg')
