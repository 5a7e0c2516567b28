"""Draws the adaptive stage's radius against the importance, computed by ``adaptive_radius``.

python docs/scripts/radius_by_importance.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from drawing import FIGURES, GREY, Data, blank, rounded, save

from adasap_det.optim import adaptive_radius
from adasap_det.optim.optim_wrapper import DEFAULT_RADII
from adasap_det.utils.plot_style import mark

RHO_MIN, RHO_MAX, RHO = DEFAULT_RADII['asam']


def data() -> Data:
    """Radii of eleven channels of evenly spaced importance, in three stages."""
    scores = torch.linspace(0, 1, 11)
    radii = {
        stage: rounded(
            adaptive_radius(scores, rho_min=RHO_MIN, rho_max=RHO_MAX, inverse=stage == 'inverse')
        )
        for stage in ('adaptive', 'inverse')
    }
    return {'importance': rounded(scores), **radii, 'uniform': RHO}


def draw(found: Data, path: Path) -> None:
    """Write the figure."""
    figure, axes = blank()
    for index, stage in enumerate(('adaptive', 'inverse'), 1):
        look = mark(index)
        line = {'adaptive': '-', 'inverse': ':'}[stage]
        name = {'adaptive': "'adaptive'", 'inverse': "'inverse', for ablations"}[stage]
        axes.plot(
            found['importance'],
            found[stage],
            color=look.colour,
            marker=look.marker,
            linestyle=line,
            label=name,
        )
    axes.axhline(found['uniform'], color=GREY, linestyle='--', label="'uniform': one ball for all")
    axes.set_xlabel('importance of the channel, scaled to [0, 1] over the network')
    axes.set_ylabel('radius of its ball')
    axes.set_ylim(0, 1.15 * found['uniform'])
    axes.legend(frameon=False, fontsize=9, loc='center right')
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'radius_by_importance.svg')
