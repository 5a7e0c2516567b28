"""Which groups fail a test is found with few tests."""

import pytest
import torch

from adasap_det.pruning.graph.channel_group import ChannelGroup, TensorSlice
from adasap_det.pruning.graph.value_check import CheckError, failing


def group_of(layer):
    own = (TensorSlice(f'{layer}.weight', 0, torch.arange(2), torch.arange(2)),)
    return ChannelGroup(name=layer, size=2, own=own, consumers=(), layers=(layer,))


GROUPS = [group_of(f'block.{i}') for i in range(32)]


@pytest.mark.parametrize(
    ('running', 'tests'),
    [((), 11), (('block.21', 'block', ''), 3), (('block.21.inner', 'block.21', 'block'), 3)],
    ids=['unknown module', 'the layer', 'inside the layer'],
)
def test_groups_of_the_module_that_failed_are_tested_first(running, tests):
    tested = []

    def test(groups):
        tested.append([group.name for group in groups])
        if 'block.21' in tested[-1]:
            raise CheckError('why', running)

    ((found, reason),) = failing(GROUPS, test)
    assert (found.name, reason) == ('block.21', 'why')
    assert len(tested) == tests


def test_two_groups_that_fail_only_together():
    def test(groups):
        if {'block.3', 'block.20'} <= {group.name for group in groups}:
            raise CheckError('both', ('block.3',))

    assert [group.name for group, _ in failing(GROUPS, test)] in (['block.3'], ['block.20'])
