"""Metrics of weighted images, and the files that hold what they need."""

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import eval_map

from adasap_det.robustness.evaluation.accuracy import ClassificationAccuracy
from adasap_det.robustness.evaluation.average_precision import (
    DetectionAP,
    detection_outcomes,
    voc_ap,
)
from adasap_det.robustness.per_image import (
    ClassificationOutcomes,
    DetectionOutcomes,
    load_outcomes,
    save_outcomes,
)
from adasap_det.robustness.results import CLEAN, Cell, save_cell

from .evaluation.test_average_precision import CLASSES, samples

MODES = ['area', '11points']


def results_of(data):
    """Results as DetectionAP stores them."""
    metric = DetectionAP()
    metric.process({}, data)
    return metric.results


def ones(images):
    return np.ones((1, images))


def mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


@pytest.mark.parametrize('eval_mode', MODES)
@pytest.mark.parametrize('seed', range(3))
def test_ap_of_equal_weights_is_that_of_the_package(eval_mode, seed):
    results = results_of(samples(seed, images=40))
    outcomes = detection_outcomes(results, len(CLASSES), eval_mode=eval_mode)
    for label in range(2):
        found = outcomes.class_ap(label, ones(40))
        assert found[0] == pytest.approx(voc_ap(results, label, eval_mode=eval_mode), rel=1e-12)
    assert np.isnan(outcomes.class_ap(2, ones(40))).all()
    expected = mean([voc_ap(results, label, eval_mode=eval_mode) for label in range(3)])
    assert outcomes.metric(ones(40))[0] == pytest.approx(expected, rel=1e-12)


def test_ap_of_equal_weights_is_that_of_mmdet():
    results = results_of(samples(3, images=40))
    detections = [
        [
            np.hstack([r['found'], r['scores'][:, None]])[r['found_labels'] == label]
            for label in range(2)
        ]
        for r in results
    ]
    expected, per_class = eval_map(
        detections, results, scale_ranges=None, iou_thr=0.5, dataset=['a', 'b'], logger='silent',
        nproc=1, use_legacy_coordinate=True,
    )  # fmt: skip
    outcomes = detection_outcomes(results, 2, eval_mode='area')
    assert outcomes.metric(ones(40))[0] == pytest.approx(expected, rel=2e-7)
    for label in range(2):
        ap = outcomes.class_ap(label, ones(40))[0]
        assert ap == pytest.approx(per_class[label]['ap'], rel=2e-7)


@pytest.mark.parametrize('eval_mode', MODES)
def test_weights_are_copies_of_images(eval_mode):
    results = results_of(samples(4, images=12))
    outcomes = detection_outcomes(results, len(CLASSES), eval_mode=eval_mode)
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=20)
    found = outcomes.metric(weights)
    assert found.shape == (20,)
    for value, counts in zip(found, weights, strict=True):
        copies = [r for r, count in zip(results, counts, strict=True) for _ in range(count)]
        expected = mean([voc_ap(copies, label, eval_mode=eval_mode) for label in range(3)])
        assert value == pytest.approx(expected, rel=1e-12)


def test_ap_by_hand():
    # By score: hit in image 0, miss in image 1, ignored, hit in image 1; two objects each.
    outcomes = DetectionOutcomes(
        objects=np.array([[2], [2]]),
        image=np.array([1, 0, 1, 0]),
        label=np.zeros(4, int),
        score=np.array([0.6, 0.9, 0.8, 0.7]),
        hit=np.array([True, True, False, False]),
        miss=np.array([False, False, True, False]),
    )
    weights = np.array([[1, 1], [3, 1], [0, 2], [2, 0]])
    expected = [
        1 / 4 * 1 + 1 / 4 * 2 / 3,
        3 / 8 * 1 + 1 / 8 * 4 / 5,
        2 / 4 * 2 / 4,
        2 / 4 * 1,
    ]
    assert outcomes.metric(weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('eval_mode', MODES)
def test_nothing_found_is_zero(eval_mode):
    nothing = np.zeros(0, int)
    outcomes = DetectionOutcomes(
        np.array([[1], [0]]), nothing, nothing, nothing * 1.0, nothing > 0, nothing > 0, eval_mode
    )
    values = outcomes.metric(np.array([[1, 1], [0, 2]]))
    assert values[0] == 0
    assert np.isnan(values[1])  # a draw without objects


def test_top_k_accuracy_of_weighted_images():
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 1]])
    labels, ranks = np.array([0, 1, 1, 2]), np.array([0, 3, 0, 1])
    assert ClassificationOutcomes(labels, ranks).metric(weights).tolist() == [0.5, 0.75]
    assert ClassificationOutcomes(labels, ranks, depth=2).metric(weights).tolist() == [0.75, 1.0]


# ---------------------------------------------------------------------- metrics and files


def test_metrics_keep_outcomes_only_if_asked():
    data = samples(5)
    for per_image in (False, True):
        metric = DetectionAP(per_image=per_image)
        metric.dataset_meta = {'classes': CLASSES}
        metric.process({}, data)
        found = metric.evaluate(len(data))
        assert set(found) == {f'robustness/{name}' for name in ('AP50', 'AP', 'per_class')}
        assert (metric.outcomes is not None) == per_image
    assert metric.outcomes.metric(ones(20))[0] == pytest.approx(found['robustness/AP50'], rel=2e-7)


def test_accuracy_keeps_ranks():
    metric = ClassificationAccuracy(per_image=True)
    metric.dataset_meta = {'classes': ('a', 'b', 'c')}
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2]])
    labels = [0, 2, 2]
    metric.process(
        None,
        [{'gt_label': [t], 'pred_score': row} for t, row in zip(labels, scores, strict=True)],
    )
    top1 = metric.evaluate(3)['robustness/top1']
    assert metric.outcomes.labels.tolist() == labels
    assert metric.outcomes.ranks.tolist() == [0, 1, 2]
    assert metric.outcomes.metric(ones(3))[0] == top1


def cell(key, fingerprint):
    return Cell(*key, 'test', 20, {'AP50': 0.5}, fingerprint=fingerprint)


def test_files_give_back_what_was_written(tmp_path):
    detections = detection_outcomes(results_of(samples(6)), 3, eval_mode='11points')
    ranks = ClassificationOutcomes(np.array([1, 0]), np.array([0, 4]), depth=5)
    for key, outcomes in ((CLEAN, detections), (('fog', 3), ranks)):
        save_cell(tmp_path, cell(key, 'now'))
        save_outcomes(tmp_path, key, outcomes, fingerprint='now')
    found = load_outcomes(tmp_path)
    assert list(found) == [CLEAN, ('fog', 3)]
    for loaded, written in zip(found.values(), (detections, ranks), strict=True):
        assert type(loaded) is type(written)
        for name, value in vars(written).items():
            assert np.array_equal(getattr(loaded, name), value), name
    assert found[CLEAN].metric(ones(20)) == detections.metric(ones(20))


def test_missing_and_outdated_files_are_errors(tmp_path):
    save_cell(tmp_path, cell(('fog', 3), 'now'))
    with pytest.raises(ValueError, match=r'fog-3\.npz is missing .* --per-image'):
        load_outcomes(tmp_path)
    outcomes = ClassificationOutcomes(np.zeros(2, int), np.zeros(2, int))
    save_outcomes(tmp_path, ('fog', 3), outcomes, fingerprint='before')
    with pytest.raises(ValueError, match=r'fog-3\.npz is .* of an earlier evaluation'):
        load_outcomes(tmp_path)
