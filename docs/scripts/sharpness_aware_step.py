"""Draws one sharpness-aware step in a narrow valley and one in a wide one.

The perturbation is computed by ``ascent_perturbation``.

python docs/scripts/sharpness_aware_step.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from drawing import FIGURES, GREY, Data, blank, rounded, save
from torch import Tensor

from adasap_det.optim import ascent_perturbation
from adasap_det.utils.plot_style import mark

RHO = 0.25
WEIGHTS = {'narrow': -0.9, 'wide': 1.1}


def loss(w: Tensor) -> Tensor:
    """A narrow valley at -1 and a wide one at 1, equally deep."""
    narrow = torch.exp(-((w + 1) ** 2) / 0.08)
    wide = torch.exp(-((w - 1) ** 2) / 0.9)
    return 1.1 - narrow - wide


def gradient(w: Tensor) -> Tensor:
    """Its derivative."""
    w = w.detach().requires_grad_()
    return torch.autograd.grad(loss(w), w)[0]


def step(start: float) -> dict[str, float]:
    """Weights, perturbed weights, their losses and the slope of one step from ``start``."""
    w = torch.tensor(start, dtype=torch.float64)
    ((eps,), *_) = ascent_perturbation([w], [gradient(w)], [0], torch.tensor([RHO]), form='sam')
    found = {
        'w': w,
        'loss': loss(w),
        'perturbed': w + eps,
        'perturbed_loss': loss(w + eps),
        'slope': gradient(w + eps),
    }
    return dict(zip(found, rounded(found.values()), strict=True))


def data() -> Data:
    """The loss, and a step from the same distance to the bottom of each valley."""
    w = torch.linspace(-2, 2.5, 226, dtype=torch.float64)
    steps = {name: step(start) for name, start in WEIGHTS.items()}
    return {'w': rounded(w), 'loss': rounded(loss(w)), **steps}


def draw(found: Data, path: Path) -> None:
    """Write the figure."""
    figure, axes = blank(7, 4)
    axes.plot(found['w'], found['loss'], color=GREY, linewidth=1.2)
    for index, name in enumerate(WEIGHTS, 1):
        look, at = mark(index), found[name]
        dots = ([at['w'], at['perturbed']], [at['loss'], at['perturbed_loss']])
        axes.plot(*dots, color=look.colour, marker=look.marker, linestyle=':')
        axes.annotate('w', (at['w'], at['loss']), (-12, -4), textcoords='offset points')
        axes.annotate(
            'w + eps', (at['perturbed'], at['perturbed_loss']), (8, -4), textcoords='offset points'
        )
        width = 0.22
        axes.plot(
            [at['perturbed'] - width, at['perturbed'] + width],
            [at['perturbed_loss'] + side * width * at['slope'] for side in (-1, 1)],
            color=look.colour,
            linewidth=1.6,
            label=f'{name} valley: the gradient that the step takes',
        )
        rise = at['perturbed_loss'] - at['loss']
        axes.text(at['w'], -0.16, f'rise {rise:.2f}', ha='center', color=look.colour)
    axes.set_ylim(-0.25, 1.35)
    axes.set_xlabel('w')
    axes.set_ylabel('L(w)')
    axes.legend(frameon=False, fontsize=9, loc='upper right')
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'sharpness_aware_step.svg')
