import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from adasap_det.robustness.corruptions.linear import magnify


@pytest.mark.parametrize(
    ('size', 'factor', 'black'),
    [
        ((128, 96), 2.5, 'row'),
        ((96, 128), 2.5, 'column'),
        ((29, 29), 3, 'both'),
        ((50, 61), 1.17, ''),
    ],
)
def test_magnify_equals_scipy_with_and_without_a_black_last_row(size, factor, black):
    image = np.random.default_rng(0).random(size, dtype=np.float32) + 0.5
    expected = zoom(image.astype(np.float64), factor, order=1)
    found = magnify(torch.from_numpy(image)[None, None], factor)[0, 0].numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4
    assert (found[-1] == 0).all() == (black in ('row', 'both'))
    assert (found[:, -1] == 0).all() == (black in ('column', 'both'))
