import pytest
from mmengine.config import Config, ConfigDict
from mmengine.hooks import IterTimerHook

from adasap_det.utils.config_tree import iter_datasets, iter_hooks, type_name


@pytest.mark.parametrize(
    'thing',
    [
        dict(type='IterTimerHook'), dict(type='mmengine.IterTimerHook'), dict(type=IterTimerHook),
        IterTimerHook(),
    ],
)  # fmt: skip
def test_name_of_a_string_a_class_and_an_object(thing):
    assert type_name(thing) == 'IterTimerHook'


def test_name_without_a_type():
    assert type_name({}) == ''


def test_hooks_of_both_places_are_found_in_order():
    hooks = dict(
        default_hooks=dict(logger=None, pruning=dict(type='PruningHook')),
        custom_hooks=[dict(type='EMAHook')],
    )
    assert [hook['type'] for hook in iter_hooks(hooks)] == ['PruningHook', 'EMAHook']
    assert [type_name(hook) for hook in iter_hooks(Config(hooks))] == ['PruningHook', 'EMAHook']


@pytest.mark.parametrize('cfg', [{}, dict(default_hooks=None, custom_hooks=None)])
def test_config_without_hooks(cfg):
    assert list(iter_hooks(cfg)) == []


def test_datasets_inside_wrappers():
    first, second, third = dict(type='A'), dict(type='B'), dict(type='C')
    joined = dict(type='ConcatDataset', datasets=[first, dict(type='Repeat', dataset=second)])
    cfg = dict(type='ConcatDataset', datasets=(joined, third))
    assert [d['type'] for d in iter_datasets(ConfigDict(cfg))] == ['A', 'B', 'C']
    assert next(iter_datasets(cfg)) is first
    assert list(iter_datasets(first)) == [first]
    assert list(iter_datasets(None)) == []
