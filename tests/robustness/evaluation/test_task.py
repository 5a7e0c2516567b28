"""Task of a config, and the AP50 mode of its own metric."""

import pytest
from mmdet.evaluation import VOCMetric

from adasap_det.robustness.evaluation.task import task_of


@pytest.mark.parametrize('kind', ['VOCMetric', 'mmdet.VOCMetric', VOCMetric])
@pytest.mark.parametrize('several', [False, True])
def test_eval_mode_of_the_configs_voc_metric_is_used(kind, several):
    metric = dict(type=kind, eval_mode='11points')
    task = task_of(dict(default_scope='mmdet', test_evaluator=[metric] if several else metric))
    assert task.evaluator == dict(type='DetectionAP', eval_mode='11points')


@pytest.mark.parametrize(
    ('evaluator', 'mode'), [(dict(type=VOCMetric), '11points'), (dict(type='CocoMetric'), 'area')]
)
def test_default_eval_mode(evaluator, mode):
    task = task_of(dict(default_scope='mmdet', test_evaluator=evaluator))
    assert task.evaluator['eval_mode'] == mode


def test_classification_metrics():
    assert task_of(dict(default_scope='mmpretrain')).metrics == ('top1', 'top5')
