"""``interval``: the second pass every few steps, its part of the gradient reused in between."""

import copy
import math

import pytest
import torch
from torch import nn

from adasap_det.optim import AdaSAPOptimWrapper, AmpAdaSAPOptimWrapper
from adasap_det.optim.looksam import (
    DIRECTION,
    LookSAMDirection,
    add_direction,
    adversarial_direction,
)

from .test_optim_wrapper import (
    BATCHES,
    asam_direction,
    assert_same,
    sgd,
    textbook_gradient,
    total_loss,
    toy,
    train,
)

SIX = [BATCHES[i % 4] for i in (0, 1, 2, 3, 1, 0)]
RHO, ALPHA = 0.75, 0.6


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def plain_gradient(model, batches, *, keep):
    """Mean gradient of some batches; ``keep`` leaves randomness and statistics as they were."""
    randomness = torch.get_rng_state()
    statistics = copy.deepcopy(dict(model.named_buffers()))
    model.zero_grad()
    for batch in batches:
        (total_loss(model, batch) / len(batches)).backward()
    if keep:
        torch.set_rng_state(randomness)
        for name, buffer in model.named_buffers():
            buffer.copy_(statistics[name])
    return [p.grad.clone() for p in model.parameters()]


def looksam(model, batches, *, interval, accumulate=1, optimizer=None, max_norm=None):
    """Reference implementation of the paper's algorithm."""
    optimizer = optimizer or sgd(model)
    parameters = list(model.parameters())
    torch.manual_seed(7)
    for step, first in enumerate(range(0, len(batches), accumulate)):
        some = batches[first : first + accumulate]
        if step % interval == 0:
            g = flat(plain_gradient(model, some, keep=True))
            textbook_gradient(model, some, lambda weights: asam_direction(weights, RHO))
            g_s = flat([p.grad for p in parameters])
            g_v = g_s - (g_s @ g / g.norm() ** 2) * g
        else:
            g = flat(plain_gradient(model, some, keep=False))
            mixed = g + ALPHA * g.norm() / g_v.norm() * g_v
            for p, part in zip(
                parameters, mixed.split([p.numel() for p in parameters]), strict=True
            ):
                p.grad = part.view_as(p).clone()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()
    return model


def wrap(model, **options):
    options = dict(optimizer=sgd(model), rho=RHO, alpha=ALPHA) | options
    return AdaSAPOptimWrapper(**options)


@pytest.mark.parametrize('interval', [2, 3])
@pytest.mark.parametrize('max_norm', [None, 0.05])
def test_matches_looksam_reference(interval, max_norm):
    actual, expected = toy(), toy()
    clip = max_norm and dict(max_norm=max_norm)
    train(actual, wrap(actual, interval=interval, clip_grad=clip), SIX)
    looksam(expected, SIX, interval=interval, max_norm=max_norm)
    assert_same(actual, expected, rtol=1e-9)


def test_interval_counts_optimizer_steps_not_micro_batches():
    actual, expected = toy(dropout=0.0), toy(dropout=0.0)
    train(actual, wrap(actual, interval=2, accumulative_counts=2), SIX)
    looksam(expected, SIX, interval=2, accumulate=2)
    # Running statistics differ: the textbook's two passes over a step's batches come in turn.
    for (name, p), q in zip(actual.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    'make', [torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam]
)
def test_optimizers_that_treat_any_state_as_their_own(make):
    actual, expected = toy(), toy()
    train(actual, wrap(actual, optimizer=make(actual.parameters(), lr=0.01), interval=3), SIX)
    looksam(expected, SIX, interval=3, optimizer=make(expected.parameters(), lr=0.01))
    # A bias before a batch norm has rounding for a gradient, which these optimizers enlarge.
    assert_same(actual, expected, rtol=1e-4)


def test_interval_saves_forward_passes():
    model = toy()
    calls = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    train(model, wrap(model, interval=3), SIX)
    assert len(calls) == 2 + 1 + 1 + 2 + 1 + 1


def test_interval_of_one_stores_no_direction():
    model = toy()
    wrapper = wrap(model, interval=1)
    train(model, wrapper)
    assert all(DIRECTION not in state for state in wrapper.optimizer.state.values())


def test_resumed_run_reuses_the_saved_direction():
    full, part = toy(dropout=0.0), toy(dropout=0.0)
    train(full, wrap(full, interval=4), SIX)
    first = wrap(part, interval=4)
    train(part, first, SIX[:2])
    second = wrap(part, interval=4)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.initialize_count_status(part, 2, len(SIX))
    train(part, second, SIX[2:])
    assert_same(part, full)


def test_missing_direction_triggers_second_pass():
    """For instance a run resumed from one without the option."""
    model = toy()
    wrapper = wrap(model, interval=4)
    wrapper.initialize_count_status(model, 2, len(SIX))
    assert wrapper.two_pass
    model.train_step(SIX[0], wrapper)
    assert not wrapper.two_pass


def test_excluded_parameters_have_no_direction():
    model = toy()
    wrapper = wrap(model, interval=2, exclude=['*.bias'])
    train(model, wrapper, SIX[:1])
    kept = {n for n, p in model.named_parameters() if DIRECTION in wrapper.optimizer.state[p]}
    assert kept == {n for n, _ in model.named_parameters() if not n.endswith('bias')}


def test_plain_stage_adds_no_direction():
    actual, expected = toy(), toy()
    wrapper = wrap(actual, optimizer=sgd(actual, momentum=0.0), interval=2)
    train(actual, wrapper, SIX[:1])
    expected.load_state_dict(actual.state_dict())
    wrapper.stage = 'plain'
    train(actual, wrapper, SIX[1:2])
    train(expected, wrap(expected, optimizer=sgd(expected, momentum=0.0), rho=0.0), SIX[1:2])
    assert_same(actual, expected)


def overflowing(batch):
    return {**batch, 'targets': batch['targets'] * float('inf')}


@pytest.mark.parametrize(
    ('make', 'fused'),
    [(torch.optim.AdamW, False), (torch.optim.AdamW, True), (torch.optim.SGD, False)],
)
def test_overflow_in_first_step_does_not_affect_later_steps(on_cpu, make, fused):
    actual, expected = toy(dropout=0.0), toy(dropout=0.0)
    optimizer = make(actual.parameters(), lr=0.01, fused=fused)
    wrapper = AmpAdaSAPOptimWrapper(
        optimizer=optimizer, rho=RHO, alpha=ALPHA, interval=2, loss_scale=dict(init_scale=2.0**16)
    )
    train(actual, wrapper, [overflowing(SIX[0])])
    assert not any(DIRECTION in state for state in optimizer.state.values())
    train(actual, wrapper, SIX[1:])
    reference = wrap(expected, optimizer=make(expected.parameters(), lr=0.01), interval=2)
    reference.initialize_count_status(expected, 1, len(SIX))
    train(expected, reference, SIX[1:])
    # Running statistics have seen the first batch.
    for (name, p), q in zip(actual.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize('fused', [False, True])
def test_overflow_in_reused_step_keeps_the_direction(on_cpu, fused):
    model = toy()
    wrapper = AmpAdaSAPOptimWrapper(
        optimizer=sgd(model, fused=fused), rho=RHO, interval=2, loss_scale=dict(init_scale=2.0**16)
    )
    state = wrapper.optimizer.state
    train(model, wrapper, SIX[:2])
    before = {name: state[p][DIRECTION].clone() for name, p in model.named_parameters()}
    assert flat(before.values()).norm().item() == pytest.approx(1.0)
    train(model, wrapper, [overflowing(SIX[2])])
    for name, p in model.named_parameters():
        assert torch.equal(state[p][DIRECTION], before[name]), name


def test_parameter_with_gradient_on_another_rank_only(monkeypatch):
    # Plain gradients (2, -) here and (0, 4) there: g = (1, 2) on average. With g_s = (1, 3),
    # g_s.g / |g|^2 = 7 / 5 and g_v = (1 - 7/5, 3 - 14/5) = (-2, 1) / 5.
    first, second, left_out = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    optimizer = torch.optim.SGD([left_out, second, first], lr=0.1)

    def all_reduce(tensors, op):
        for tensor, here, there in zip(tensors, [0.0, 2.0], [4.0, 0.0], strict=True):
            assert tensor.tolist() == [here]  # in the optimizer's order, which all ranks share
            tensor.fill_((here + there) / 2)

    monkeypatch.setattr('adasap_det.optim.looksam.all_reduce_params', all_reduce)
    reused = LookSAMDirection(alpha=ALPHA, reduced=False)
    reused.collect([first, second], [torch.tensor([2.0]), None])
    for weight, grad in [(first, 1.0), (second, 3.0), (left_out, 5.0)]:
        weight.grad = torch.tensor([grad])
    with reused.around_step(optimizer):
        optimizer.step()
    found = torch.cat([optimizer.state[p][DIRECTION] for p in (first, second)])
    torch.testing.assert_close(found, torch.tensor([-2.0, 1.0]) / 5**0.5)
    assert DIRECTION not in optimizer.state[left_out]


def test_orthogonal_component_by_hand():
    # g = (3, 4), g_s = (2, 0) over two tensors: g_s.g / |g|^2 = 6 / 25, so
    # g_v = (2 - 18/25, -24/25) = (32/25, -24/25), of length 8/5.
    plain = [torch.tensor([3.0]), torch.tensor([[4.0]])]
    perturbed = [torch.tensor([2.0]), torch.tensor([[0.0]])]
    first, second = adversarial_direction(plain, perturbed)
    torch.testing.assert_close(first, torch.tensor([0.8]))
    torch.testing.assert_close(second, torch.tensor([[-0.6]]))
    assert first is plain[0]  # updated in place


@pytest.mark.parametrize('scale', [1e-3, 1e4])
def test_invariant_to_both_gradient_scales(scale):
    generator = torch.Generator().manual_seed(0)
    plain = [torch.randn(5, generator=generator) for _ in range(3)]
    perturbed = [torch.randn(5, generator=generator) for _ in range(3)]
    reference = adversarial_direction([g.clone() for g in plain], perturbed)
    for one, other in [(scale, 1.0), (1.0, scale)]:
        found = adversarial_direction([one * g for g in plain], [other * g for g in perturbed])
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('plain', 'perturbed'),
    [
        ([1.0, 2.0], [0.0, 0.0]),  # no gradient at the perturbed point
        ([0.1, 0.3], [0.2, 0.6]),  # parallel: what is left is rounding
        ([math.nan, 1.0], [1.0, 2.0]),
        ([1.0, 1.0], [math.inf, 2.0]),
    ],
)
def test_parallel_gradients_give_zero_direction(plain, perturbed):
    (found,) = adversarial_direction([torch.tensor(plain)], [torch.tensor(perturbed)])
    assert found.tolist() == [0.0, 0.0]


def test_zero_plain_gradient_keeps_the_full_perturbed_gradient():
    (found,) = adversarial_direction([torch.zeros(2)], [torch.tensor([0.0, -3.0])])
    assert found.tolist() == [0.0, -1.0]


def test_direction_is_scaled_by_gradient_norm():
    grads = [torch.tensor([3.0]), torch.tensor([4.0])]
    add_direction(grads, [torch.tensor([0.0]), torch.tensor([1.0])], alpha=0.5)
    assert [g.item() for g in grads] == [3.0, 6.5]


def test_zero_gradient_stays_zero():
    add_direction([], [], alpha=0.5)
    assert adversarial_direction([], []) == []


def test_half_precision_norms_do_not_overflow():
    grads = [torch.full((4,), 400.0, dtype=torch.float16)]  # squares: 160,000 each
    direction = [torch.tensor([1.0, 0, 0, 0], dtype=torch.float16)]
    add_direction(grads, direction, alpha=0.5)
    assert grads[0].tolist() == [800.0, 400.0, 400.0, 400.0]
