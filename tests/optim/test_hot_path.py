"""What a step on a GPU waits for and copies, counted without one: on the meta device."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adasap_det.hooks.channel_rows import channel_rows, removal_rows
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.optim.deferred_scalars import DeferredScalars
from adasap_det.optim.removal import ChannelRemoval
from adasap_det.pruning import MagnitudeImportance, TaylorImportance, find_channel_groups
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.toy import ToyDetector, toy_batch

SCALARS = ('aten::_local_scalar_dense', 'aten::is_nonzero', 'aten::equal')


class Transfers(TorchDispatchMode):
    """Counts waits for the device, and copies from the host to it."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name
        if name in SCALARS and args[0].device.type == 'meta':
            self.count['sync'] += 1
            return True
        result = func(*args, **kwargs)
        inputs = [t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if 'copy' in name and 'cpu' in inputs:
            outputs = [t.device.type for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
            self.count['to device'] += 'meta' in (*outputs, *inputs)
        return result


def transfers(importance, *, stage, steps=3, removed=0, **options):
    """By step of a toy detector; the first fills caches."""
    groups = find_channel_groups(ToyDetector(), example_image((6, 6))).groups
    with torch.device('meta'):
        model = ToyDetector().train()
    model.inner_bn.momentum = 0.1  # a cumulative average waits by itself
    wrapper = AdaSAPOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **options
    )
    wrapper.stage = stage
    wrapper.message_hub.update_info('iter', 0)  # not one that is logged
    wrapper.set_channels(channel_rows(model, groups))
    if importance.needs_gradients:
        wrapper.gradient_observers.append(lambda: importance.observe(groups, model))
    if removed:
        wrapper.removal = ChannelRemoval(removal_rows(model, groups))
        wrapper.removal.set_order(torch.arange(sum(group.size for group in groups)))
        wrapper.removal.removed = removed
    batch = {name: value.to('meta') for name, value in toy_batch(0).items()}
    found = []
    for _ in range(steps):
        with Transfers() as mode:
            if wrapper.by_channel:
                wrapper.set_scores(importance.scores(groups, model))
            with wrapper.optim_context(model):
                losses = model(**batch, mode='loss')
            wrapper.update_params(sum(losses.values()))
        found.append(mode.count)
    return found


@pytest.mark.parametrize('stage', ['uniform', 'adaptive'])
@pytest.mark.parametrize('importance', [MagnitudeImportance, TaylorImportance])
def test_a_step_waits_once_and_copies_little(importance, stage):
    counts = transfers(importance(), stage=stage)[-1]
    assert counts['sync'] <= 1
    assert counts['to device'] <= 5


def test_removing_channels_copies_nothing():
    counts = transfers(TaylorImportance(), stage='adaptive', removed=5)[-1]
    assert counts == transfers(TaylorImportance(), stage='adaptive')[-1]


def test_all_scalars_are_read_with_one_wait_in_the_iteration_that_is_logged(monkeypatch):
    flushed = []
    monkeypatch.setattr(DeferredScalars, 'flush', lambda self: flushed.append(list(self._names)))
    monkeypatch.setattr(DeferredScalars, '_is_last_before_log', lambda self: True)
    transfers(MagnitudeImportance(), stage='adaptive', steps=1)
    (names,) = flushed
    assert {'train/rise', 'train/rise_aim', 'train/perturbation_norm', 'train/rho_p50'} < set(names)


def test_waits_and_copies_are_counted():
    with Transfers() as mode:
        x = torch.zeros(3, device='meta')
        assert bool(x.any())
        x + torch.ones(3).to('meta')
        x.copy_(torch.ones(3))
        assert bool(torch.ones(3).any())
    assert mode.count == {'sync': 1, 'to device': 2}
