from colorsys import rgb_to_hsv

import numpy as np
import pytest

from adasap_det.datasets.textures import fill, random_colour, smooth_noise

KINDS = ('plain', 'gradient', 'clouds', 'stripes', 'checks')


def test_colours_have_every_hue_saturation_and_lightness():
    rng = np.random.default_rng(0)
    colours = np.stack([random_colour(rng) for _ in range(2000)])
    assert colours.dtype == np.float32
    hue, saturation, lightness = np.transpose([rgb_to_hsv(*(c / 255)) for c in colours])
    for values, low, high in ((hue, 0, 1), (saturation, 0, 1), (lightness, 0.1, 1)):
        counts, _ = np.histogram(values, bins=10, range=(low, high))
        assert counts.sum() == pytest.approx(2000, abs=2)
        assert counts.min() > 140  # 200 each in the mean


def test_colours_keep_their_distance():
    rng = np.random.default_rng(0)
    red = np.array([220.0, 30.0, 30.0])
    colours = np.stack([random_colour(rng, far_from=red, distance=110) for _ in range(200)])
    distances = np.linalg.norm(colours - red, axis=1)
    assert distances.min() >= 110
    assert np.mean(distances < 160) > 0.1  # no farther than asked


def test_smooth_noise_is_smoother_with_fewer_cells():
    def steps(cells: int) -> float:
        noise = smooth_noise(np.random.default_rng(1), 64, 64, cells=cells)
        assert noise.shape == (64, 64)
        assert noise.min() >= 0
        assert noise.max() <= 1
        return float(np.abs(np.diff(noise, axis=1)).mean())

    assert steps(2) < steps(8) < steps(32)


@pytest.mark.parametrize('kind', KINDS)
def test_fill_stays_between_its_two_colours(kind):
    colour = np.array([100.0, 120.0, 140.0], dtype=np.float32)
    image = fill(np.random.default_rng(2), 30, 20, kinds=(kind,), colour=colour, contrast=40)
    assert image.shape == (30, 20, 3)
    assert np.abs(image - colour).max() <= 40.001


def test_plain_is_one_colour_and_checks_are_two():
    colour = np.array([100.0, 120.0, 140.0], dtype=np.float32)
    rng = np.random.default_rng(3)
    plain = fill(rng, 30, 30, kinds=('plain',), colour=colour, contrast=40)
    assert np.array_equal(plain, np.broadcast_to(colour, plain.shape))
    checks = fill(rng, 30, 30, kinds=('checks',), colour=colour, contrast=40)
    assert len(np.unique(checks.reshape(-1, 3), axis=0)) == 2


def test_unknown_pattern_is_named():
    with pytest.raises(ValueError, match="'tartan'"):
        fill(np.random.default_rng(0), 4, 4, kinds=('tartan',), colour=np.zeros(3), contrast=1)
