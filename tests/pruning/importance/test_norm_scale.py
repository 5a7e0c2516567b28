from dataclasses import replace

import torch

from adasap_det.pruning import NormScaleImportance


def test_absolute_scale_of_the_norm_over_the_channels(toy):
    """The one of the concat is split among the layers that it joins."""
    importance = NormScaleImportance(normalize='none')
    joint = toy.model.joint_bn.weight.detach().abs()
    assert torch.equal(toy(importance, 'left'), joint[:6])
    assert torch.equal(toy(importance, 'right'), joint[6:])
    assert torch.equal(toy(importance, 'stem'), toy.model.stem_bn.weight.detach().abs())


def test_scale_sign_is_ignored(toy):
    with torch.no_grad():
        toy.model.inner_bn.weight.copy_(torch.tensor([1.0, -3.0, 0.0, 2.0, -2.0, 0.5]))
    expected = torch.tensor([1.0, 3.0, 0.0, 2.0, 2.0, 0.5])
    assert torch.equal(toy(NormScaleImportance(normalize='max'), 'inner'), expected / 3)


def test_groups_without_a_norm_take_the_norm_of_their_weights(toy):
    toy.groups = [replace(group, norms=()) for group in toy.groups]
    expected = toy.model.inner.weight.detach().flatten(1).norm(dim=1)
    assert torch.allclose(toy(NormScaleImportance(normalize='none'), 'inner'), expected)
