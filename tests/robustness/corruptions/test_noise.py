"""Noise that is drawn differently from the reference has the same distribution."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom, chisquare, poisson

from adasap_det.robustness.corruptions.clean_image import CleanImage
from adasap_det.robustness.corruptions.noise import (
    IMPULSE_AMOUNT,
    PHOTONS,
    impulse_noise,
    shot_noise,
)
from adasap_det.robustness.corruptions.random_bits import RandomBits
from adasap_det.robustness.corruptions.seeds import generator

SEVERITIES = (1, 2, 3, 4, 5)
# With fixed seeds, a test either always passes or always fails; a correct sampler fails for one
# seed in ten thousand.
P_VALUE = 1e-4


def flat(level, side=200):
    return CleanImage(np.full((side, side, 3), level, np.uint8))


def words(seed, side=200):
    return RandomBits.draw(generator(seed), (side, side, 3))


def grouped(observed, expected):
    """Merge rare outcomes, since the chi-square test needs at least five of each."""
    keep = expected >= 5
    return (
        np.append(observed[keep], observed[~keep].sum() + 1e-9),
        np.append(expected[keep], expected[~keep].sum() + 1e-9),
    )


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('level', [1, 17, 128, 255])
def test_shot_noise_is_poisson(severity, level):
    """Chi-square of 120,000 counts against the probabilities of ``photons * level / 255``."""
    photons = PHOTONS[severity - 1]
    noisy = shot_noise(flat(level), severity, words(level + 1000 * severity))
    counts = np.arange(photons + 1)
    grey = (np.clip(counts / photons, 0, 1) * 255).astype(np.uint8)
    assert set(np.unique(noisy)) <= set(grey)
    rate = photons * level / 255
    # All counts of `photons` and more are white.
    chances = np.append(poisson.pmf(counts[:-1], rate), poisson.sf(photons - 1, rate))
    observed = np.array([(noisy == value).sum() for value in grey], float)
    observed, expected = grouped(observed, chances * noisy.size)
    if len(observed) > 2:
        assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > P_VALUE


@pytest.mark.parametrize('severity', SEVERITIES)
def test_shot_noise_is_the_quantile_of_its_field(severity):
    """Exact for every pixel, including those that the table leaves undecided."""
    image = np.arange(256, dtype=np.uint8).repeat(3 * 64).reshape(128, 128, 3)
    clean = CleanImage(image)
    noisy = shot_noise(clean, severity, RandomBits.draw(generator(5), image.shape))
    field = RandomBits.draw(generator(5), image.shape)
    photons = PHOTONS[severity - 1]
    rates = photons * image.reshape(-1).astype(float) / 255
    cell = field.leading.reshape(-1) >> 4
    low, high = poisson.ppf(cell / 4096 + 1e-13, rates), poisson.ppf((cell + 1) / 4096, rates)
    undecided = np.flatnonzero(low != high)
    assert 0 < undecided.size < image.size / 10
    counts = low
    counts[undecided] = poisson.ppf(field.refine(undecided, bits=12), rates[undecided])
    expected = (np.clip(counts / photons, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(noisy.reshape(-1), np.where(rates == 0, 0, expected))


def test_shot_noise_has_mean_and_deviation_of_the_reference():
    """Our sample and the reference's of the same ramp agree within five standard errors."""
    from imagecorruptions import corruptions as theirs

    ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], (600, 1, 3))
    np.random.seed(0)
    for severity in SEVERITIES:
        reference = np.uint8(theirs.shot_noise(Image.fromarray(ramp), severity)).astype(float)
        field = RandomBits.draw(generator(9 + severity), ramp.shape)
        ours = shot_noise(CleanImage(ramp), severity, field).astype(float)
        spread = reference.std(axis=(0, 2)) + 1e-9
        error = np.sqrt(2 * spread**2 / 1800) + 1e-3
        assert (np.abs(ours.mean((0, 2)) - reference.mean((0, 2))) < 5 * error).all()
        assert abs(ours.std((0, 2)).mean() / reference.std((0, 2)).mean() - 1) < 0.01


@pytest.mark.parametrize('severity', SEVERITIES)
def test_impulse_noise_replaces_the_expected_number_of_values(severity):
    """Salt, pepper and their sum over 120,000 values are within binomial bounds of 1e-4."""
    noisy = impulse_noise(flat(100), severity, words(severity))
    amount = IMPULSE_AMOUNT[severity - 1]
    assert set(np.unique(noisy)) == {0, 100, 255}
    for value, chance in ((0, amount / 2), (255, amount / 2), (100, 1 - amount)):
        low, high = binom.interval(1 - P_VALUE, noisy.size, chance)
        assert low <= (noisy == value).sum() <= high


def test_impulse_noise_is_independent_per_channel():
    noisy = impulse_noise(flat(100), 5, words(3)) != 100
    amount = IMPULSE_AMOUNT[4]
    both = (noisy[..., 0] & noisy[..., 1]).mean()
    assert both == pytest.approx(amount**2, rel=0.05)


def test_impulse_noise_has_the_rates_of_the_reference():
    from imagecorruptions import corruptions as theirs

    image = flat(100).image
    for severity in SEVERITIES:
        reference = np.uint8(theirs.impulse_noise(Image.fromarray(image), severity, seed=1))
        ours = impulse_noise(CleanImage(image), severity, words(70 + severity))
        for value in (0, 255):
            error = np.sqrt(2 * (reference == value).mean() / reference.size)
            assert abs((ours == value).mean() - (reference == value).mean()) < 5 * error


def test_impulse_threshold_between_two_leading_values():
    """The threshold falls between two values of the 16 leading bits; further bits decide."""
    amount = IMPULSE_AMOUNT[0]
    cell, rest = divmod(amount / 2 * (1 << 16), 1)
    leading = np.full((400, 400, 3), int(cell), np.uint16)
    clean = CleanImage(np.full(leading.shape, 100, np.uint8))
    noisy = impulse_noise(clean, 1, RandomBits(leading, generator(2)))
    low, high = binom.interval(1 - P_VALUE, noisy.size, rest)
    assert low <= (noisy == 255).sum() <= high
