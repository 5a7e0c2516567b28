from colorsys import rgb_to_hsv

import numpy as np
import pytest

from adasap_det.datasets.shape_outlines import SHAPE_CLASSES, SHAPE_HUES
from adasap_det.datasets.textures import fill, muted_colour, smooth_noise, vivid_colour

KINDS = ('plain', 'gradient', 'clouds', 'stripes', 'checks')


def hue_and_saturation(colour: np.ndarray) -> tuple[float, float]:
    hue, saturation, _ = rgb_to_hsv(*(colour / 255))
    return 360 * hue, saturation


def test_vivid_colours_are_saturated_and_keep_their_distance():
    rng = np.random.default_rng(0)
    red = np.array([220.0, 30.0, 30.0])
    colours = np.stack([vivid_colour(rng, far_from=red, distance=100) for _ in range(200)])
    assert np.linalg.norm(colours - red, axis=1).min() >= 100
    assert colours.min() >= 0
    assert colours.max() <= 255
    assert min(hue_and_saturation(c)[1] for c in colours) >= 0.7 - 1e-6


def test_four_fifths_of_the_colours_are_near_the_hue():
    rng = np.random.default_rng(0)
    grey = np.full(3, 128.0)
    hues = np.array(
        [hue_and_saturation(vivid_colour(rng, far_from=grey, hue=350))[0] for _ in range(1000)]
    )
    away = np.abs((hues - 350 + 180) % 360 - 180)
    # Within three deviations: the 80 % near the hue, and 54 / 180 of the random rest.
    assert np.mean(away < 54) == pytest.approx(0.8 + 0.2 * 0.3, abs=0.05)


def test_usual_hues_differ():
    assert list(SHAPE_HUES) == list(SHAPE_CLASSES)
    hues = np.sort(list(SHAPE_HUES.values()))
    assert np.diff([*hues, hues[0] + 360]).min() >= 35


def test_muted_colours_are_near_grey():
    rng = np.random.default_rng(0)
    colours = np.stack([muted_colour(rng) for _ in range(200)])
    assert np.ptp(colours, axis=1).max() <= 50
    assert colours.min() >= 35
    assert colours.max() <= 220


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
