"""The reference's corruptions, with the same random field as ours.

Each entry makes the reference draw from our field: it patches the function that the reference
draws with, for one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.special import ndtri

from adasap_det.robustness.corruptions import corruption_seed
from adasap_det.robustness.corruptions.api import FUNCTIONS
from adasap_det.robustness.corruptions.clean_image import CleanImage
from adasap_det.robustness.corruptions.glass import GLASS
from adasap_det.robustness.corruptions.linear import zoomed_part
from adasap_det.robustness.corruptions.noise import GAUSSIAN_SCALE
from adasap_det.robustness.corruptions.seeds import generator
from adasap_det.robustness.corruptions.weather import SNOW

IMAGE_ID = 'an image'


def field_of(clean: CleanImage, corruption: str, severity: int) -> Any:
    """Return the field that ``corrupt`` draws for this image."""
    draw, _ = FUNCTIONS[corruption]
    if draw is None:
        return None
    seed = corruption_seed(image_id=IMAGE_ID, corruption=corruption, severity=severity)
    return draw(generator(seed), clean, severity)


def same_field(
    image: np.ndarray, corruption: str, severity: int, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """Return the reference's result with our random field, uint8 RGB."""
    from imagecorruptions import corruptions as theirs

    clean = CleanImage(image)
    field = field_of(clean, corruption, severity)
    result = getattr(theirs, corruption)
    options: dict[str, Any] = {}
    if corruption in _PATCHES:
        _PATCHES[corruption](theirs, monkeypatch, clean, severity, field)
    found = result(Image.fromarray(image), severity, **options)
    return np.uint8(found)


def _normal(theirs, monkeypatch, clean, severity, field):
    def normal(size, loc=0.0, scale=1.0):
        assert size == field.shape
        return loc + scale * field.astype(np.float64)

    monkeypatch.setattr(theirs.np.random, 'normal', normal)


def _random_bits(theirs, monkeypatch, clean, severity, field):
    # Uniform numbers with the same leading bits and, where needed, the same further bits.
    from adasap_det.robustness.corruptions.noise import _UNDECIDED_GAUSSIAN, _gaussian_table

    uniform = (field.leading + 0.5) / (1 << 16)
    undecided = _gaussian_table(severity).take(field.leading) == _UNDECIDED_GAUSSIAN
    seed = corruption_seed(image_id=IMAGE_ID, corruption='gaussian_noise', severity=severity)
    again = field_of(clean, 'gaussian_noise', severity)
    assert seed and np.array_equal(again.leading, field.leading)
    uniform.reshape(-1)[undecided.reshape(-1)] = again.refine(np.flatnonzero(undecided))
    scale = GAUSSIAN_SCALE[severity - 1]
    monkeypatch.setattr(theirs.np.random, 'normal', lambda size, scale: scale * ndtri(uniform))
    assert scale


def _angle(theirs, monkeypatch, clean, severity, field):
    monkeypatch.setattr(theirs.np.random, 'uniform', lambda low, high: field)


def _snow(theirs, monkeypatch, clean, severity, field):
    normal, angle = field
    top, rows = zoomed_part(clean.height, SNOW[severity - 1][2])
    left, columns = zoomed_part(clean.width, SNOW[severity - 1][2])

    def draw(size, loc, scale):
        padded = np.zeros(size)
        padded[top : top + rows, left : left + columns] = normal
        return loc + scale * padded

    monkeypatch.setattr(theirs.np.random, 'normal', draw)
    monkeypatch.setattr(theirs.np.random, 'uniform', lambda low, high: angle)


def _frost(theirs, monkeypatch, clean, severity, field):
    numbers = iter(field)
    monkeypatch.setattr(theirs.np.random, 'randint', lambda *limits: next(numbers))


def _fog(theirs, monkeypatch, clean, severity, field):
    used = 0

    def uniform(low, high, shape):
        nonlocal used
        part = field[used : used + np.prod(shape)].reshape(shape)
        used += part.size
        return part * np.float64(high)

    monkeypatch.setattr(theirs.np.random, 'uniform', uniform)


def _elastic(theirs, monkeypatch, clean, severity, field):
    parts = iter(field)
    monkeypatch.setattr(
        theirs.np.random, 'uniform', lambda low, high, size: next(parts).astype(np.float64) * high
    )


def _glass(theirs, monkeypatch, clean, severity, field):
    """Run the reference's own loop, interpreted, with our offsets in its order."""
    numbers = iter(field.reshape(-1, 2))
    loop: Callable[..., np.ndarray] = theirs._shuffle_pixels_njit_glass_blur.py_func
    reach = GLASS[severity - 1][1]

    def randint(low, high, size):
        assert (low, high) == (-reach, reach)
        return next(numbers).astype(int)

    monkeypatch.setattr(theirs.np.random, 'randint', randint)
    monkeypatch.setattr(theirs.np.random, 'seed', lambda seed: None)
    monkeypatch.setattr(theirs, '_shuffle_pixels_njit_glass_blur', loop)


_PATCHES: dict[str, Callable[..., None]] = {
    'gaussian_noise': _random_bits,
    'speckle_noise': _normal,
    'spatter': _normal,
    'motion_blur': _angle,
    'snow': _snow,
    'frost': _frost,
    'fog': _fog,
    'elastic_transform': _elastic,
    'glass_blur': _glass,
}

#: Drawn differently from the reference, so compared by distribution.
BY_DISTRIBUTION = ('shot_noise', 'impulse_noise')
