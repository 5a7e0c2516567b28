import copy

import pytest
import torch
from torch import nn

from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.graph.attention_heads import head_groups

from ...helpers.attention import (
    CHANNELS,
    HEADS,
    MODULES,
    WIDTH,
    AttentionNet,
    build,
    groups_of,
    mmpretrain_attention,
    torch_attention,
)

pytestmark = pytest.mark.filterwarnings("ignore:You'd better set embed_dims:UserWarning")


def permute(model, group, order, *, which):
    """Reorder the channels in the slices ``which`` of a group."""
    for piece in which:
        tensor = model.get_parameter(piece.name)
        moved = torch.arange(tensor.shape[piece.dim])
        for block in range(piece.positions.numel() // group.size // _width(piece, group)):
            for to, of in enumerate(order.tolist()):
                at = _of(piece, to, block, group)
                moved[at] = _of(piece, of, block, group)
        tensor.data = tensor.data.index_select(piece.dim, moved)


def _width(piece, group):
    """Consecutive positions of one channel."""
    return int((piece.channels != piece.channels[0]).nonzero()[0])


def _of(piece, channel, block, group):
    mine = piece.positions[piece.channels == channel]
    width = _width(piece, group)
    return mine[block * width : (block + 1) * width]


@pytest.mark.parametrize('name', MODULES)
def test_permuted_heads_compute_the_same(name):
    model, output = build(name)
    (group,) = groups_of(model)
    assert (group.size, group.width) == (HEADS, WIDTH)
    order = torch.tensor([2, 0, 3, 1])
    both, only_own = copy.deepcopy(model), copy.deepcopy(model)
    permute(both, group, order, which=group.slices)
    permute(only_own, group, order, which=group.own)
    torch.testing.assert_close(output(both), output(model), rtol=0, atol=1e-12)
    assert not torch.allclose(output(only_own), output(model), atol=1e-3)


@pytest.mark.parametrize('name', MODULES)
def test_group_covers_every_parameter_whose_shape_depends_on_the_heads(name):
    model, _ = build(name)
    (group,) = groups_of(model)
    covered = {piece.name for piece in group.slices}
    rest = {n for n, _ in model.named_parameters()} - covered
    after = {
        'proj.bias',
        'out_proj.bias',
        'output_proj.bias',
        'o_proj.bias',
    }  # one of these, if any
    assert all(n.split('.', 1)[1].removeprefix('attn.') in after for n in rest)


def test_excluded_attention_is_skipped():
    model = nn.ModuleDict({'a': mmpretrain_attention(), 'b': mmpretrain_attention()})
    analysis = head_groups(model, exclude=['a'])
    assert [group.name for group in analysis.groups] == ['b.qkv']
    assert analysis.skipped == {'a.qkv': 'a.qkv is excluded'}


def test_frozen_attention_is_skipped():
    model = nn.ModuleDict({'a': torch_attention()}).requires_grad_(False)
    analysis = head_groups(model)
    assert analysis.groups == []
    assert analysis.skipped == {'a': 'a is frozen by the model itself'}


def test_attention_that_shares_its_weights_is_skipped():
    model = nn.ModuleDict({'a': torch_attention(), 'b': torch_attention()})
    model['b'].in_proj_weight = model['a'].in_proj_weight
    analysis = head_groups(model)
    assert analysis.groups == []
    assert analysis.skipped['b'] == 'b.in_proj_weight is shared with another module'
    model['b'] = model['a']  # one module under two names is one attention
    assert [group.name for group in head_groups(model).groups] == ['a']


@pytest.mark.parametrize('options', [{'add_bias_kv': True}, {'add_zero_attn': True}])
def test_attention_with_additional_keys_is_skipped(options):
    model = nn.ModuleDict({'a': nn.MultiheadAttention(CHANNELS, HEADS, **options)})
    analysis = head_groups(model)
    assert analysis.groups == []
    assert 'add_bias_kv' in analysis.skipped['a']


def test_attention_without_plain_projections_is_skipped():
    model = nn.ModuleDict({'a': mmpretrain_attention()})
    model['a'].qkv = nn.Sequential(model['a'].qkv)
    analysis = head_groups(model)
    assert analysis.groups == []
    assert 'no plain linear layers' in analysis.skipped['a.qkv']


def test_analysis_of_a_model_finds_heads_and_traced_channels():
    analysis = find_channel_groups(AttentionNet(), torch.rand(1, 3, 6, 6))
    assert {group.name: (group.size, group.width) for group in analysis.groups} == {
        'stem': (CHANNELS, 1),
        'attention': (HEADS, WIDTH),
        'fc1': (16, 1),
    }
    assert 'attention' not in analysis.skipped
