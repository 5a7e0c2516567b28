"""How the config's own metric integrates AP50."""

import pytest
from mmdet.evaluation import VOCMetric

from adasap_det.robustness.evaluation.task import task_of


@pytest.mark.parametrize('kind', ['VOCMetric', 'mmdet.VOCMetric', VOCMetric])
@pytest.mark.parametrize('several', [False, True])
def test_the_configs_own_way_be_it_named_by_string_or_class(kind, several):
    metric = dict(type=kind, eval_mode='11points')
    task = task_of(dict(default_scope='mmdet', test_evaluator=[metric] if several else metric))
    assert task.evaluator == dict(type='DetectionAP', eval_mode='11points')


@pytest.mark.parametrize(
    ('evaluator', 'mode'), [(dict(type=VOCMetric), '11points'), (dict(type='CocoMetric'), 'area')]
)
def test_defaults(evaluator, mode):
    task = task_of(dict(default_scope='mmdet', test_evaluator=evaluator))
    assert task.evaluator['eval_mode'] == mode


def test_classification():
    assert task_of(dict(default_scope='mmpretrain')).metrics == ('top1', 'top5')
