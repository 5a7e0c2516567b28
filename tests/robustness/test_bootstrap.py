"""Paired intervals: draws, estimates and coverage, in cases with a known answer."""

import math

import numpy as np
import pytest

from adasap_det.robustness.bootstrap import Interval, paired_interval
from adasap_det.robustness.evaluation.average_precision import detection_outcomes
from adasap_det.robustness.per_image import ClassificationOutcomes
from adasap_det.robustness.results import CLEAN

from .evaluation.test_average_precision import samples
from .test_per_image import results_of

Z = 1.959964


def answers(right):
    right = np.asarray(right, bool)
    return ClassificationOutcomes(np.zeros(len(right), int), (~right).astype(int))


def two_models(images, seed, *, p=0.7, shared=0.8):
    """Two models of equal accuracy that agree on most images: whether each is right."""
    rng = np.random.default_rng(seed)
    common, first, second = (rng.random(images) < p for _ in range(3))
    same = rng.random(images) < shared
    return np.where(same, common, first), np.where(same, common, second)


def width(interval):
    return interval.high - interval.low


def test_estimates_are_differences_of_means_over_runs_and_cells():
    right = {CLEAN: [1, 1, 1, 0], ('fog', 1): [1, 1, 0, 0], ('snow', 1): [1, 0, 0, 0]}
    worse = {CLEAN: [1, 1, 0, 0], ('fog', 1): [1, 0, 0, 0], ('snow', 1): [0, 0, 0, 0]}
    a, b = ({key: answers(value) for key, value in run.items()} for run in (right, worse))
    found = paired_interval([a, b], [b], draws=10)
    assert list(found) == ['P', 'mPC', 'rPC']
    assert found['P'].estimate == pytest.approx((0.75 + 0.5) / 2 - 0.5)
    assert found['mPC'].estimate == pytest.approx((0.375 + 0.125) / 2 - 0.125)
    assert found['rPC'].estimate == pytest.approx((0.5 + 0.25) / 2 - 0.25)


def test_width_is_that_of_the_paired_normal_approximation():
    first, second = two_models(2000, seed=1)
    found = paired_interval([{CLEAN: answers(first)}], [{CLEAN: answers(second)}], draws=4000)
    difference = first.astype(float) - second
    expected = 2 * Z * difference.std() / math.sqrt(2000)
    assert width(found['P']) == pytest.approx(expected, rel=0.05)
    assert found['P'].estimate == pytest.approx(difference.mean())
    unpaired = 2 * Z * math.sqrt((first.var() + second.var()) / 2000)
    assert width(found['P']) < 0.6 * unpaired


def test_images_keep_their_cells_together():
    """Cells with the same answers are no more information than one of them."""
    first, second = two_models(1000, seed=2)
    a, b = (
        {(name, s): answers(right) for name in ('fog', 'snow') for s in (1, 3)}
        for right in (first, second)
    )
    one = paired_interval([{('fog', 1): answers(first)}], [{('fog', 1): answers(second)}])
    assert list(one) == ['mPC']
    found = paired_interval([a], [b])['mPC']
    for name in ('estimate', 'low', 'high'):
        assert getattr(found, name) == pytest.approx(getattr(one['mPC'], name), rel=1e-12)


def test_same_model_differs_by_nothing():
    runs = [{CLEAN: answers(two_models(50, seed)[0])} for seed in range(3)]
    assert paired_interval(runs, runs, draws=50)['P'] == Interval(0, 0, 0)


@pytest.mark.parametrize('runs', [1, 3])
def test_95_per_cent_of_the_intervals_hold_the_true_difference(runs):
    """Which is 0; runs of a few seeds, with an effect of the seed that both arms share."""
    held, trials = 0, 200
    for trial in range(trials):
        rng = np.random.default_rng((trial, runs))
        a, b = [], []
        for _ in range(runs):
            first, second = two_models(300, int(rng.integers(2**31)), p=rng.uniform(0.6, 0.8))
            a.append({CLEAN: answers(first)})
            b.append({CLEAN: answers(second)})
        found = paired_interval(a, b, draws=400, seed=trial)['P']
        held += found.low <= 0 <= found.high
    assert 0.91 <= held / trials <= 1.0


def test_variance_between_runs_is_in_the_interval():
    """Every image is alike, so that runs alone make the difference."""
    a = [{CLEAN: answers(np.full(40, right))} for right in (True, True, False, False)]
    b = [{CLEAN: answers(np.full(40, False))}] * 4
    found = paired_interval(a, b, draws=4000)['P']
    # Mean of four draws of 0 or 1: binomial; 1/16 of the draws at either end.
    assert (found.estimate, found.low, found.high) == (0.5, 0.0, 1.0)
    assert paired_interval(a, b, draws=4000, level=0.8)['P'] == Interval(0.5, 0.25, 0.75)


def test_runs_at_the_same_position_are_drawn_together():
    """An effect of the seed that both arms share cancels, unless their numbers differ."""
    rights = [np.arange(100) < count for count in (30, 60, 90)]
    a = [{CLEAN: answers(right)} for right in rights]
    assert width(paired_interval(a, a)['P']) == 0
    b = [*a, *a]
    assert paired_interval(a, b)['P'].estimate == pytest.approx(0)
    assert width(paired_interval(a, b)['P']) > 0.3


def test_detectors_are_compared_by_ap():
    results = results_of(samples(0, images=40))
    rng = np.random.default_rng(0)
    worse = [{**r, 'found': r['found'] + rng.normal(0, 4, r['found'].shape)} for r in results]
    a, b = ({CLEAN: detection_outcomes(each, 3, eval_mode='area')} for each in (results, worse))
    found = paired_interval([a], [b], draws=200)['P']
    expected = (a[CLEAN].metric(np.ones((1, 40))) - b[CLEAN].metric(np.ones((1, 40))))[0]
    assert found.estimate == pytest.approx(expected)
    assert 0 < found.low < found.estimate < found.high < 1


def test_draws_depend_on_the_seed_alone():
    first, second = two_models(1000, seed=3)
    a, b = [{CLEAN: answers(first)}], [{CLEAN: answers(second)}]
    assert paired_interval(a, b) == paired_interval(a, b)
    assert paired_interval(a, b, seed=1) != paired_interval(a, b)


def test_invalid_input():
    run = {CLEAN: answers([1, 0]), ('fog', 1): answers([1, 0])}
    for options, words in (
        ({'draws': 0}, 'draws .* got 0'),
        ({'level': 1}, r'level .* got 1'),
    ):
        with pytest.raises(ValueError, match=words):
            paired_interval([run], [run], **options)
    with pytest.raises(ValueError, match='at least one run'):
        paired_interval([], [run])
    with pytest.raises(ValueError, match='differ in their cells'):
        paired_interval([run], [{CLEAN: run[CLEAN]}])
    with pytest.raises(ValueError, match='same severities'):
        uneven = {**run, ('snow', 2): answers([1, 0])}
        paired_interval([uneven], [uneven])
    other = ClassificationOutcomes(np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(ValueError, match='differ in their images'):
        paired_interval([{CLEAN: answers([1, 0])}], [{CLEAN: other}])
