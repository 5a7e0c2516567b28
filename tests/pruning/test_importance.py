import pytest
import torch
from torch import nn

from adasap_det.pruning import (
    Importance,
    MagnitudeImportance,
    TaylorImportance,
    find_channel_groups,
)
from adasap_det.registry import IMPORTANCES

from ..toy import GroupedNet, ToyDetector, randomize, toy_batch

SIZE = (6, 6)


@pytest.fixture
def toy():
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, input_size=SIZE).groups
    return model, groups, {layer: g for g in groups for layer in g.layers}


def scores_of(importance, toy, layer):
    model, groups, by_layer = toy
    return importance.scores(groups, model)[groups.index(by_layer[layer])]


@pytest.mark.parametrize('p', [1, 2])
def test_magnitude_averages_over_coupled_layers(toy, p):
    """Stem, the residual branch's last layer and the depthwise convolution share a score."""
    model = toy[0]
    expected = sum(
        layer.weight.detach().flatten(1).norm(p=p, dim=1)
        for layer in (model.stem, model.back, model.depth)
    )
    actual = scores_of(MagnitudeImportance(p=p, normalize='none'), toy, 'stem')
    assert torch.allclose(actual, expected / 3)


def test_magnitude_of_concatenated_layers_is_each_ones_own(toy):
    importance = MagnitudeImportance(normalize='none')
    for layer in ('left', 'right'):
        weight = getattr(toy[0], layer).weight.detach()
        assert torch.allclose(scores_of(importance, toy, layer), weight.flatten(1).norm(dim=1))


@pytest.mark.parametrize(('normalize', 'scale'), [('mean', torch.mean), ('max', torch.max)])
def test_normalized_by_the_groups_own(toy, normalize, scale):
    raw = scores_of(MagnitudeImportance(normalize='none'), toy, 'inner')
    actual = scores_of(MagnitudeImportance(normalize=normalize), toy, 'inner')
    assert torch.allclose(actual, raw / scale(raw))


def backward(model, seed):
    model.zero_grad()
    batch = toy_batch(seed)
    sum(model(**batch, mode='loss').values()).backward()


def test_taylor_sums_over_norm_parameters_before_the_absolute_value(toy):
    model, groups, _ = toy
    importance = TaylorImportance()
    per_step = []
    for seed in (1, 2):
        backward(model, seed)
        importance.observe(groups, model)
        joint = model.joint_bn.weight * model.joint_bn.weight.grad
        joint = (joint + model.joint_bn.bias * model.joint_bn.bias.grad).detach()
        stem = model.stem_bn.weight * model.stem_bn.weight.grad
        stem = (stem + model.stem_bn.bias * model.stem_bn.bias.grad).detach()
        per_step.append((joint, stem))
    joint = sum(j.abs() for j, _ in per_step) / 2
    assert torch.allclose(scores_of(importance, toy, 'left'), joint[:6])
    assert torch.allclose(scores_of(importance, toy, 'right'), joint[6:])
    assert torch.allclose(scores_of(importance, toy, 'stem'), sum(s.abs() for _, s in per_step) / 2)


def test_taylor_without_norm_layers_sums_over_weights_and_biases():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    groups = find_channel_groups(model, input_size=SIZE).groups
    model(torch.rand(2, 3, 6, 6)).square().sum().backward()
    importance = TaylorImportance()
    importance.observe(groups, model)
    (score,) = importance.scores(groups, model)
    first = model[0]
    signed = (first.weight * first.weight.grad).flatten(1).sum(1) + first.bias * first.bias.grad
    assert torch.allclose(score, signed.abs().detach(), rtol=1e-4)


def test_taylor_state_survives_and_is_forgotten_after_a_cut(toy):
    model, groups, _ = toy
    importance = TaylorImportance()
    backward(model, 1)
    importance.observe(groups, model)
    again = TaylorImportance()
    again.load_state_dict(importance.state_dict())
    for a, b in zip(again.scores(groups, model), importance.scores(groups, model), strict=True):
        assert torch.equal(a, b)
    importance.keep(groups[0], torch.arange(2))
    assert all((score == 1).all() for score in importance.scores(groups, model))


def test_parts_of_a_grouped_convolution_share_their_score():
    model = randomize(GroupedNet())
    groups = find_channel_groups(model, input_size=SIZE).groups
    for group, score in zip(groups, MagnitudeImportance().scores(groups, model), strict=True):
        assert group.parts == 2
        first, second = score.chunk(2)
        assert torch.equal(first, second)
        assert len(set(first.tolist())) == first.numel()


def test_a_criterion_of_ones_own(toy):
    @IMPORTANCES.register_module(force=True)
    class FirstImportance(Importance):
        """Channels matter less the later they come."""

        def channel_scores(self, group, tensors):
            return torch.arange(group.size, 0, -1)

    importance = IMPORTANCES.get('FirstImportance')(normalize='max')
    assert torch.allclose(scores_of(importance, toy, 'inner'), torch.arange(6, 0, -1) / 6)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"importance\.normalize.*'sum'"):
        MagnitudeImportance(normalize='sum')
    with pytest.raises(ValueError, match=r'importance\.p must be positive, got 0'):
        MagnitudeImportance(p=0)
