"""The shuffle of glass blur equals the reference's compiled loop and a plain loop."""

import numba
import numpy as np
import pytest
from imagecorruptions.corruptions import _shuffle_pixels_njit_glass_blur

from adasap_det.robustness.corruptions.glass import GLASS, shuffled_sources


@numba.njit
def offsets_of(seed, rounds, rows, columns, reach):
    """Offsets that the reference draws with this seed, in its order."""
    np.random.seed(seed)
    found = np.empty((rounds, rows, columns, 2), np.int64)
    for i in range(rounds):
        for h in range(rows):
            for w in range(columns):
                found[i, h, w] = np.random.randint(-reach, reach, size=(2,))
    return found


@pytest.mark.parametrize('constants', GLASS, ids=lambda c: str(c))
@pytest.mark.parametrize('size', [(33, 47), (120, 90)])
def test_equals_the_references_compiled_shuffle(constants, size):
    height, width = size
    _, reach, rounds = constants
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    offsets = offsets_of(11, rounds, height - 2 * reach, width - 2 * reach, reach)
    expected = _shuffle_pixels_njit_glass_blur(height, width, image.copy(), constants, 11)
    source = shuffled_sources(height, width, offsets, reach=reach)
    np.testing.assert_array_equal(image.reshape(-1, 3)[source].reshape(image.shape), expected)


def test_values_are_copied_instead_of_swapped():
    """As in the reference, many distinct values are lost and others are duplicated."""
    rng = np.random.default_rng(1)
    offsets = rng.integers(-2, 2, (1, 36, 36, 2))
    source = shuffled_sources(40, 40, offsets, reach=2)
    assert 0.5 < len(np.unique(source)) / source.size < 0.75


def test_chain_across_a_full_row_is_followed():
    """Every pixel takes its right neighbour's new value, so the last value fills the row."""
    height, width, reach = 9, 500, 2
    offsets = np.zeros((1, height - 2 * reach, width - 2 * reach, 2), int)
    offsets[..., 0] = 1
    source = shuffled_sources(height, width, offsets, reach=reach).reshape(height, width)
    assert (source[4, 3:] == 4 * width + width - 1).all()
    np.testing.assert_array_equal(source[4, :3], 4 * width + np.arange(3))
