"""Accuracy by hand and against mmpretrain's own."""

import pytest
import torch
from mmengine.registry import METRICS

from adasap_det.robustness.evaluation.accuracy import ClassificationAccuracy, rank_of


def test_rank_by_hand():
    scores = torch.tensor([0.1, 0.5, 0.2, 0.5])
    assert [rank_of(scores, label) for label in range(4)] == [3, 0, 2, 1]


def test_non_finite_scores_rank_last():
    scores = torch.tensor([float('nan'), 0.1])
    assert rank_of(scores, 0) == 2
    assert rank_of(torch.full((3,), float('nan')), 0) == 3


def evaluate(scores, labels, classes):
    metric = ClassificationAccuracy(prefix='robustness')
    metric.dataset_meta = {'classes': classes}
    samples = [
        dict(gt_label=torch.tensor([label]), pred_score=row)
        for row, label in zip(scores, labels, strict=True)
    ]
    metric.process(None, samples)
    return metric.evaluate(len(samples)), samples


def test_accuracy_by_class_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]])
    found, _ = evaluate(scores, [0, 1, 1], ('cat', 'dog', 'cow'))
    assert found['robustness/top1'] == pytest.approx(2 / 3)
    assert found['robustness/per_class'] == {'top1': {'cat': 1.0, 'dog': 0.5, 'cow': None}}


def test_classes_with_the_same_name_have_separate_values():
    """As ImageNet's two cranes."""
    found, _ = evaluate(torch.eye(3), [0, 1, 0], ('crane', 'dog', 'crane'))
    expected = {'crane (0)': 0.5, 'dog': 1.0, 'crane (2)': None}
    assert found['robustness/per_class'] == {'top1': expected}


def test_accuracy_equals_mmpretrain():
    Accuracy = pytest.importorskip('mmpretrain.evaluation').Accuracy
    torch.manual_seed(0)
    scores, labels = torch.rand(200, 10), torch.randint(10, (200,)).tolist()
    found, samples = evaluate(scores, labels, tuple('abcdefghij'))
    theirs = Accuracy(topk=(1, 5))
    theirs.process(None, samples)
    expected = theirs.evaluate(200)
    assert 100 * found['robustness/top1'] == pytest.approx(expected['accuracy/top1'], abs=1e-4)
    assert 100 * found['robustness/top5'] == pytest.approx(expected['accuracy/top5'], abs=1e-4)


def test_any_of_several_true_classes_is_correct():
    metric = METRICS.build(dict(type='ClassificationAccuracy'))
    metric.dataset_meta = {'classes': tuple('abc')}
    scores = torch.tensor([0.1, 0.7, 0.2])
    for labels in ([0, 1], [0, 2]):
        metric.process(None, [dict(gt_label=torch.tensor(labels), pred_score=scores)])
    found = metric.evaluate(2)
    assert found['robustness/top1'] == 0.5
    assert found['robustness/per_class']['top1'] == {'a': 0.5, 'b': None, 'c': None}


def test_images_without_a_class_are_rejected():
    with pytest.raises(ValueError, match='have no gt_label'):
        ClassificationAccuracy().process(None, [dict(pred_score=torch.rand(3))])
