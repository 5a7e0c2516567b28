import torch
from torch import nn

from adasap_det.pruning import TaylorImportance, find_channel_groups

from ...toy import toy_batch

SIZE = (6, 6)


def backward(model, seed):
    model.zero_grad()
    batch = toy_batch(seed)
    sum(model(**batch, mode='loss').values()).backward()


def test_taylor_sums_over_norm_parameters_before_the_absolute_value(toy):
    model, groups = toy.model, toy.groups
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
    assert torch.allclose(toy(importance, 'left'), joint[:6])
    assert torch.allclose(toy(importance, 'right'), joint[6:])
    assert torch.allclose(toy(importance, 'stem'), sum(s.abs() for _, s in per_step) / 2)


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
    model, groups = toy.model, toy.groups
    importance = TaylorImportance()
    backward(model, 1)
    importance.observe(groups, model)
    again = TaylorImportance()
    again.load_state_dict(importance.state_dict())
    for a, b in zip(again.scores(groups, model), importance.scores(groups, model), strict=True):
        assert torch.equal(a, b)
    importance.keep(groups[0], torch.arange(2))
    assert all((score == 1).all() for score in importance.scores(groups, model))


def test_taylor_squared_by_hand():
    """Gains 2 and -4, then 0 and 4: squares 4 and 16, then 0 and 16, on average 2 and 16."""
    model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1))
    groups = find_channel_groups(model, input_size=SIZE).groups
    importance = TaylorImportance(squared=True)
    weight = model[0].weight
    with torch.no_grad():
        weight.zero_()
        weight[:, 0, 0, 0] = torch.tensor([1.0, 2.0])
    for gradient in ([2.0, -2.0], [0.0, 2.0]):
        weight.grad = torch.zeros_like(weight)
        weight.grad[:, 0, 0, 0] = torch.tensor(gradient)
        importance.observe(groups, model)
    (score,) = importance.scores(groups, model)
    assert score.tolist() == [2.0, 16.0]
