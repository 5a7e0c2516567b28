import re

import pytest
import torch
from torch import nn

from adasap_det.optim import Rows
from adasap_det.optim.param_selection import (
    check_exclude,
    least_important,
    norm_parameters,
    perturbable_parameters,
)

from ..helpers.toy import GroupNormNet, ToyDetector


def names(model, parameters):
    by_id = {id(p): name for name, p in model.named_parameters()}
    return [by_id[id(p)] for p in parameters]


def test_select_only_norm_layers():
    model = ToyDetector()
    found = names(model, perturbable_parameters(model, layers='norm'))
    assert found == [f'{n}_bn.{k}' for n in ('stem', 'inner', 'joint') for k in ('weight', 'bias')]


@pytest.mark.parametrize(
    'norm', [nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.InstanceNorm2d(4, affine=True)]
)
def test_every_kind_of_norm_layer(norm):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm)
    assert norm_parameters(model) == {id(norm.weight), id(norm.bias)}


def test_network_without_norm_layers():
    with pytest.raises(ValueError, match=r"layers='norm' .* Sequential has none"):
        perturbable_parameters(nn.Sequential(nn.Conv2d(3, 4, 1)), layers='norm')


def test_excluded_and_frozen_parameters_are_not_selected():
    model = GroupNormNet()
    model.first.bias.requires_grad_(False)
    found = names(model, perturbable_parameters(model, exclude=('norm.*', '*.weight')))
    assert found == ['out.bias']


def test_pattern_matches_only_the_named_module():
    model = ToyDetector()
    left = set(names(model, perturbable_parameters(model))) - set(
        names(model, perturbable_parameters(model, exclude=('inner', 'joint_*')))
    )
    assert left == {f'{n}.{k}' for n in ('inner', 'joint_bn') for k in ('weight', 'bias')}


def test_patterns_that_match():
    model = ToyDetector()
    for parameter in model.stem_bn.parameters():
        parameter.requires_grad_(False)
    check_exclude(model, ['*.bias', 'out', 'stem_bn', '*'])
    check_exclude(model, [])


@pytest.mark.parametrize(
    ('pattern', 'close'), [('iner.*', 'inner'), ('joint_norm', 'joint_bn'), ('?', 'stem.weight')]
)
def test_unmatched_pattern_error_suggests_similar_names(pattern, close):
    words = rf'exclude pattern {re.escape(repr(pattern))} matches no parameter of ToyDetector; '
    with pytest.raises(ValueError, match=rf'{words}names look like.* {close}\b'):
        check_exclude(ToyDetector(), ['*.bias', pattern])


def test_select_least_important_ratio_of_grouped_parameters():
    model = nn.Sequential(*(nn.Conv2d(1, 2, 1, bias=False) for _ in range(4)), nn.Linear(2, 2))
    weights = list(model.parameters())
    balls = [[1, 2], [3, 4], [0, 5], [0, 0]]  # the third has a row of no group, the fourth only
    rows = {id(w): Rows(0, torch.tensor(b)) for w, b in zip(weights, balls, strict=False)}
    scores = torch.tensor([5.0, 9.0, 1.0, 2.0, 3.0])  # means 7, 1.5 and 3
    always = ['3.weight', '4.weight', '4.bias']

    def chosen(ratio):
        return names(model, least_important(weights, rows, scores, perturb_ratio=ratio))

    assert chosen(0.3) == ['1.weight', *always]
    assert chosen(0.5) == ['1.weight', '2.weight', *always]
    assert chosen(1.0) == ['0.weight', '1.weight', '2.weight', *always]


def test_no_grouped_parameters():
    weights = list(nn.Linear(2, 2).parameters())
    assert len(least_important(weights, {}, torch.zeros(0), perturb_ratio=0.5)) == 2
