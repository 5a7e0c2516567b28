import random

import numpy as np
import pytest
import torch
from torch import nn

from adasap_det.optim.second_pass import ModelCall, capture_call, frozen_buffers, perturbed_weights
from adasap_det.utils.random_state import RandomState, same_randomness


class SecondPassError(Exception):
    pass


def draws():
    """One draw from each generator that a model or a sampler may use."""
    return random.random(), np.random.rand(), torch.rand(()).item()


# ------------------------------------------------------------------ weights


def awkward_weights():
    """Values that adding and subtracting would not bring back."""
    torch.manual_seed(0)
    return [
        nn.Parameter(torch.randn(3, 4) * 1e-6),
        nn.Parameter(torch.randn(2, 5).t()),  # not contiguous
        nn.Parameter(torch.randn(6).to(torch.bfloat16)),
        nn.Parameter(torch.tensor(1e-30)),
    ]


@pytest.mark.parametrize('fails', [False, True])
def test_weights_are_restored_bitwise_in_the_same_storage(fails):
    weights = awkward_weights()
    before = [w.detach().clone() for w in weights]
    storage = [w.data_ptr() for w in weights]
    eps = [torch.full_like(w, 1e3) for w in weights]
    try:
        with perturbed_weights(weights, eps):
            for w, b, e in zip(weights, before, eps, strict=True):
                assert torch.equal(w, b + e)
            if fails:
                raise SecondPassError
    except SecondPassError:
        assert fails
    assert all(map(torch.equal, weights, before))
    assert [w.data_ptr() for w in weights] == storage


def test_weights_are_perturbed_outside_the_graph():
    weight = nn.Parameter(torch.ones(2))
    with perturbed_weights([weight], [torch.ones(2)]):
        (weight * 3).sum().backward()
    assert weight.is_leaf
    assert weight.grad.tolist() == [3, 3]


def test_no_weights():
    with perturbed_weights([], []):
        pass


# ------------------------------------------------------------------ buffers


class ReassignedBuffer(nn.Module):
    """Puts a new tensor in the buffer's place instead of writing into it."""

    def __init__(self):
        super().__init__()
        self.register_buffer('seen', torch.zeros(2))

    def forward(self, x):
        self.seen = self.seen + 1
        return x


def normed(layer):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 1), layer)


LAYERS = {
    'batch norm': lambda: nn.BatchNorm2d(4),
    'cumulative average': lambda: nn.BatchNorm2d(4, momentum=None),
    'instance norm': lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    'no statistics': lambda: nn.BatchNorm2d(4, track_running_stats=False),
    'new tensor': ReassignedBuffer,
}


@pytest.mark.parametrize('layer', LAYERS)
@pytest.mark.parametrize('fails', [False, True])
def test_buffers_are_restored(layer, fails):
    model = normed(LAYERS[layer]())
    model(torch.randn(3, 2, 5, 5))  # first pass: these statistics stay
    objects = dict(model.named_buffers())
    before = {name: b.clone() for name, b in objects.items()}
    try:
        with frozen_buffers(model):
            model(torch.randn(3, 2, 5, 5) + 4)
            inside = dict(model.named_buffers())
            assert not before or any(not torch.equal(inside[n], b) for n, b in before.items())
            if fails:
                raise SecondPassError
    except SecondPassError:
        assert fails
    after = dict(model.named_buffers())
    assert all(after[name] is objects[name] for name in objects)
    assert all(torch.equal(after[name], b) for name, b in before.items())


def test_second_pass_does_not_update_running_statistics():
    """The counter too: with momentum=None it sets the weight of the next batch."""
    once, twice = normed(nn.BatchNorm2d(4, momentum=None)), normed(nn.BatchNorm2d(4, momentum=None))
    for seed in range(3):
        torch.manual_seed(seed)
        batch = torch.randn(3, 2, 5, 5)
        once(batch)
        twice(batch)
        with frozen_buffers(twice):
            twice(batch * 2)
    assert twice[1].num_batches_tracked == 3
    assert all(map(torch.equal, once.buffers(), twice.buffers()))


def test_second_pass_normalizes_with_batch_statistics():
    """The second pass normalises with its batch, not with the running statistics."""
    model = normed(nn.BatchNorm2d(4))
    batch = torch.randn(3, 2, 5, 5)
    expected = model(batch)
    with frozen_buffers(model):
        torch.testing.assert_close(model(batch), expected)


def test_layers_in_eval_mode_stay_in_eval_mode():
    model = normed(nn.BatchNorm2d(4))
    model[1].eval()
    before = [b.clone() for b in model.buffers()]
    with frozen_buffers(model):
        model(torch.randn(3, 2, 5, 5))
        assert not model[1].training
    assert not model[1].training
    assert model[0].training
    assert all(map(torch.equal, model.buffers(), before))


# ------------------------------------------------------------------ randomness


def test_every_generator_is_captured():
    state = RandomState.capture()
    first = draws()
    assert draws() != first
    state.restore()
    assert draws() == first


@pytest.mark.parametrize('fails', [False, True])
def test_replay_does_not_advance_generators(fails):
    state = RandomState.capture()
    inside_expected = draws()
    outside_expected = draws()
    state.restore()

    draws()
    try:
        with same_randomness(state):
            assert draws() == inside_expected
            draws()
            if fails:
                raise SecondPassError
    except SecondPassError:
        assert fails
    assert draws() == outside_expected


# ------------------------------------------------------------------ the call


class Meddler(nn.Module):
    """A head that modifies its inputs in place and applies dropout."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(50))

    def forward(self, x, samples=None, mode='tensor'):
        x.mul_(2)
        boxes = samples[0].pop('boxes')
        samples.append(mode)
        return nn.functional.dropout(x * self.weight, 0.5) + boxes


def meddled():
    return torch.full((50,), 3.0), [{'boxes': torch.ones(50)}]


def test_replayed_call_has_equal_inputs_and_dropout():
    model = Meddler()
    inputs, samples = meddled()
    with capture_call(model) as call:
        first = model(inputs, samples=samples, mode='loss')
    assert call.count == 1
    assert 0 < (first == 1).sum() < 50  # something was dropped, something was not
    after = RandomState.capture()
    expected = draws()
    after.restore()
    assert torch.equal(call.replay(), first)
    assert draws() == expected


def test_inputs_are_copied_before_the_forward_pass():
    model = Meddler()
    inputs, samples = meddled()
    with capture_call(model) as call:
        model(inputs, samples, 'loss')
    args, _ = call.args, call.kwargs
    assert args[0].tolist() == [3.0] * 50
    assert list(args[1][0]) == ['boxes']
    assert inputs[0] == 6  # the model received the caller's own objects


def test_first_call_is_recorded_and_calls_are_counted():
    model = nn.Linear(2, 2)
    with capture_call(model) as call:
        model(torch.zeros(1, 2))
        model(torch.ones(1, 2))
    assert call.count == 2
    assert call.args[0].tolist() == [[0.0, 0.0]]


def test_calls_outside_the_context_are_not_recorded():
    model = nn.Linear(2, 2)
    with pytest.raises(SecondPassError), capture_call(model) as call:
        raise SecondPassError
    model(torch.ones(1, 2))
    assert call.count == 0
    assert not model._forward_pre_hooks


def test_replay_without_a_captured_call():
    with pytest.raises(RuntimeError, match='nothing was captured'):
        ModelCall(nn.Linear(2, 2)).replay()
