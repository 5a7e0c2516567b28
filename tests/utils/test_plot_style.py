from __future__ import annotations

import numpy as np
import pytest
from matplotlib import colormaps

from adasap_det.utils.plot_style import DIVERGING, SEQUENTIAL, ink_on, mark


def luminance(colour):
    rgb = np.asarray(colour[:3], dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize('name', [SEQUENTIAL, DIVERGING])
def test_numbers_are_legible_on_every_colour(name):
    for value in np.linspace(0, 1, 101):
        colour = colormaps[name](value)
        paper = luminance(colour)
        ink = {'#000000': 0.0, '#ffffff': 1.0}[ink_on(*colour[:3])]
        contrast = (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05)
        assert contrast >= 4.5  # WCAG 2.1, AA


def test_models_look_different_without_colour_too():
    looks = [mark(index) for index in range(32)]
    assert len(set(looks)) == 32
    assert len({look.marker for look in looks[:8]}) == 8
