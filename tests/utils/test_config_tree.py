import pytest
from mmengine.config import Config
from mmengine.hooks import IterTimerHook

from adasap_det.utils.config_tree import iter_hooks, type_name


@pytest.mark.parametrize(
    'thing',
    [
        dict(type='IterTimerHook'), dict(type='mmengine.IterTimerHook'), dict(type=IterTimerHook),
        IterTimerHook(),
    ],
)  # fmt: skip
def test_a_string_a_class_and_an_object_have_the_same_name(thing):
    assert type_name(thing) == 'IterTimerHook'


def test_without_a_type():
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
