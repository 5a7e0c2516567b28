import pytest
from mmengine.hooks import IterTimerHook

from adasap_det.utils.config_tree import type_name


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
