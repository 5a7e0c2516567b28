import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from adasap_det.hooks.channel_rows import removal_rows
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.optim.removal import ChannelRemoval
from adasap_det.optim.second_pass import frozen_buffers, perturbed_weights
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, Pruner, prune_channels
from adasap_det.pruning.graph.value_check import randomized, without_dropout

from ..helpers.toy import GroupedNet, ToyDetector
from .test_optim_wrapper import BATCHES, sgd, total_loss


class Gated(nn.Module):
    """Squeeze-and-excitation and an activation that is not zero at zero."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.second = nn.Conv2d(8, 6, 3)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = nn.functional.silu(self.bn(self.first(x)))
        x = x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.out(nn.functional.softplus(self.second(x)))


class Concatenated(nn.Module):
    """Two layers concatenated under one norm, read by a layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.joint = nn.Conv2d(10, 5, 1)
        self.out = nn.Conv2d(5, 2, 1)

    def forward(self, x):
        def branch(x):
            return self.joint(self.norm(torch.cat([self.left(x), self.right(x)], 1)).sigmoid())

        return self.out(branch(x).tanh()) + self.out(branch(x.flip(-1)).tanh())


def pruner_of(model):
    return Pruner(
        model,
        torch.rand(1, 3, 8, 8),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )


def removal_of(pruner, order):
    removal = ChannelRemoval(removal_rows(pruner.model, pruner.groups))
    removal.set_order(torch.cat([order.ranks[group.name] for group in pruner.groups]))
    return removal


def half_removed(model):
    """A pruner, its order and the removal of half of the parameters."""
    pruner = pruner_of(model)
    order = pruner.removal_order()
    removal = removal_of(pruner, order)
    limit = 0.5 * pruner.dense_costs['budget']
    removal.removed = order.steps_within(limit, pruner.costs()['budget'])
    assert removal.removed > 0
    return pruner, order, removal


def with_gradients_as_weights(model):
    copied = copy.deepcopy(model)
    for mine, theirs in zip(copied.parameters(), model.parameters(), strict=True):
        mine.data = theirs.grad.clone()
    return copied


def outputs_after_backward(model, inputs):
    model.zero_grad()
    outputs = model(inputs)
    (outputs.square().mean() + outputs.sum().tanh()).backward()
    return outputs.detach()


@pytest.mark.parametrize('training', [True, False], ids=['training', 'evaluation'])
@pytest.mark.parametrize('kind', [ToyDetector, GroupedNet, Gated, Concatenated])
def test_removed_channels_leave_the_outputs_and_gradients_of_the_pruned_network(kind, training):
    torch.manual_seed(0)
    model = without_dropout(randomized(kind())).double().train(training)
    pruner, order, removal = half_removed(model)
    inputs = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    with (
        perturbed_weights([], [], changed=removal.parameters),
        frozen_buffers(model),
        removal.applied(),
    ):
        masked = outputs_after_backward(model, inputs)
    gradients = with_gradients_as_weights(model)
    total = {name: gradient.abs().sum() for name, gradient in gradients.named_parameters()}
    prune_channels(gradients, pruner.groups, order.kept(removal.removed))
    pruner.prune_to(0.5 * pruner.dense_costs['budget'], order=order)
    torch.testing.assert_close(masked, outputs_after_backward(model, inputs), rtol=1e-9, atol=1e-12)
    for name, gradient in gradients.named_parameters():
        expected = model.get_parameter(name).grad
        torch.testing.assert_close(gradient.data, expected, rtol=1e-9, atol=1e-11, msg=name)
        torch.testing.assert_close(expected.abs().sum(), total[name], rtol=1e-9, atol=1e-9)


def test_nothing_removed_changes_nothing():
    removal = removal_of(pruner := pruner_of(ToyDetector()), pruner.removal_order())
    assert removal.parameters == []
    before = [p.clone() for p in pruner.model.parameters()]
    with removal.applied():
        assert all(map(torch.equal, pruner.model.parameters(), before))


# ------------------------------------------------------------------ in a step


@pytest.mark.parametrize('options', [{'rho': 0.75}, {'rise': 0.1, 'uniform_rise': 0.1}])
def test_second_pass_goes_without_the_channels_and_the_first_does_not(options):
    torch.manual_seed(0)
    model = without_dropout(randomized(ToyDetector())).double().train()
    _, _, removal = half_removed(model)
    expected = copy.deepcopy(model)
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), **options)
    wrapper.removal = removal
    seen = []
    wrapper.gradient_observers.append(
        lambda: seen.append([p.grad.clone() for p in model.parameters()])
    )
    perturbed, masks = [], []
    kernel = wrapper._perturber.perturbation

    def recorded(weights, grads, **kwargs):
        eps = kernel(weights, grads, **kwargs)
        perturbed.extend(zip(weights, [e.clone() for e in eps], strict=True))
        return eps

    wrapper._perturber.perturbation = recorded
    applied = removal.applied

    @contextmanager
    def watched():
        with applied():
            masks.extend(p.clone() for p in model.parameters())
            yield

    removal.applied = watched
    model.train_step(BATCHES[0], wrapper)

    total_loss(expected, BATCHES[0]).backward()  # the first pass is whole
    for mine, theirs in zip(seen[0], expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.grad, rtol=1e-9, atol=1e-12)
    assert len(perturbed) == len(list(model.parameters()))
    by_weight = {id(p): eps for p, eps in perturbed}
    reduced = copy.deepcopy(expected)
    reduced.zero_grad()
    for p, at, own in zip(model.parameters(), masks, reduced.parameters(), strict=True):
        moved = own.data + by_weight[id(p)]
        assert torch.equal(at, torch.where(at == 0, 0.0, moved))  # perturbed, or removed
        own.data = at.data.clone()
    assert any((at == 0).any() for at in masks)
    total_loss(reduced, BATCHES[0]).backward()
    for mine, dense, own in zip(
        model.parameters(), expected.parameters(), reduced.parameters(), strict=True
    ):
        stays = own.data != 0
        step = 0.1 * torch.where(stays, own.grad, 0.0)
        torch.testing.assert_close(mine, dense - step, rtol=1e-9, atol=1e-12)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, expected.get_buffer(name)), name


@pytest.mark.parametrize('exclude', [(), ('*',)], ids=['perturbed', 'not perturbed'])
def test_an_error_restores_the_removed_channels(exclude):
    model = ToyDetector().double().train()
    _, _, removal = half_removed(model)
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), rho=0.75, exclude=exclude)
    wrapper.removal = removal
    before = [p.clone() for p in model.parameters()]

    def fail(module, args):
        if not module.stem.weight.all():
            raise RuntimeError('stopped')

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match='stopped'):
        model.train_step(BATCHES[0], wrapper)
    assert all(map(torch.equal, model.parameters(), before))


def test_one_pass_without_ascent_is_the_plain_step_of_the_reduced_network():
    torch.manual_seed(0)
    model = without_dropout(randomized(ToyDetector())).double().train()
    _, _, removal = half_removed(model)
    reduced, dense = copy.deepcopy(model), copy.deepcopy(model)
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    wrapper.stage, wrapper.removal = 'plain', removal
    seen = []
    wrapper.gradient_observers.append(lambda: seen.append(True))
    model.train_step(BATCHES[0], wrapper)
    removed = [p == 0 for p in masked_weights(reduced, removal, model, dense)]
    total_loss(reduced, BATCHES[0]).backward()
    for mine, before, own, gone in zip(
        model.parameters(), dense.parameters(), reduced.parameters(), removed, strict=True
    ):
        step = 0.1 * torch.where(gone, 0.0, own.grad)
        torch.testing.assert_close(mine, before - step, rtol=1e-9, atol=1e-12)
    for name, buffer in model.named_buffers():  # of the whole network only
        assert torch.equal(buffer, dense.get_buffer(name)), name
    assert not seen  # nothing is known of a channel that was not there
    removal.removed = 0
    model.train_step(BATCHES[1], wrapper)
    assert seen
    assert not torch.equal(model.stem_bn.running_mean, dense.stem_bn.running_mean)


def masked_weights(reduced, removal, model, dense):
    """Set to zero in ``reduced`` what the removal sets to zero in ``model``."""
    with perturbed_weights([], [], changed=removal.parameters), removal.applied():
        gone = [p == 0 for p in model.parameters()]
    for own, before, mask in zip(reduced.parameters(), dense.parameters(), gone, strict=True):
        own.data = torch.where(mask, 0.0, before.data)
    return list(reduced.parameters())


def test_the_rise_is_measured_only_where_nothing_is_removed():
    model = ToyDetector().double().train()
    _, _, removal = half_removed(model)
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), rise=0.1, uniform_rise=0.1)
    wrapper.removal = removal
    measured = []
    wrapper._perturber.measured = lambda rise, **_: measured.append(rise)
    for removed in (removal.removed, 0, removal.removed):
        removal.removed = removed
        model.train_step(BATCHES[0], wrapper)
    assert len(measured) == 1


def test_accumulated_gradients_of_other_passes_stay():
    """Removed rows keep what a micro-batch before has left in their gradients."""
    torch.manual_seed(0)
    model = without_dropout(randomized(ToyDetector())).double().train()
    _, _, removal = half_removed(model)
    taken = removal.removed
    gradients = []
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model, lr=0.0), rho=0.75, accumulative_counts=2)
    wrapper.removal = removal
    for removed in (0, taken):
        removal.removed = removed
        model.train_step(BATCHES[0], wrapper)
        if not removed:
            gradients = [p.grad.clone() for p in model.parameters()]
    # The step has cleared the gradients: momentum holds their sum.
    momentum = [wrapper.optimizer.state[p]['momentum_buffer'] for p in model.parameters()]
    with perturbed_weights([], [], changed=removal.parameters), removal.applied():
        gone = [p == 0 for p in model.parameters()]
    assert any(mask.any() for mask in gone)
    for total, first, mask in zip(momentum, gradients, gone, strict=True):
        assert torch.equal(total[mask], first[mask])
