"""Which groups fail a test, and which can be set to zero instead of removed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.graph.channel_group import ChannelGroup, TensorSlice
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.graph.value_check import (
    UNLIKE_ZEROS,
    CheckError,
    ValueCheck,
    failing,
    uneven_half,
)


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


class Between(nn.Module):
    """Two convolutions with a function of their channels in between."""

    def __init__(self, between, **layers):
        super().__init__()
        self.a, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.between = between

    def forward(self, x):
        return self.out(self.between(self, self.a(x)))


class Attention(nn.Module):
    """Self-attention whose code fixes the number of heads or their width, as ``view`` says."""

    def __init__(self, *view, scale=None):
        super().__init__()
        self.a = nn.Conv2d(3, 64, 1)
        self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))
        self.project, self.out = nn.Linear(64, 64), nn.Linear(64, 5)
        self.view, self.scale = view, scale

    def forward(self, x):
        x = self.a(x).flatten(2).transpose(1, 2)
        heads = (
            each(x).unflatten(2, self.view).transpose(1, 2) for each in (self.q, self.k, self.v)
        )
        found = F.scaled_dot_product_attention(*heads, scale=self.scale)
        return self.out(x + self.project(found.transpose(1, 2).flatten(2)))


def analyse(model):
    return find_channel_groups(model, example_image((6, 6)))


def gated(s, x):
    return x * s.up(s.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


def standardized(s, x):
    weight = s.b.weight
    variance, mean = torch.var_mean(weight, (1, 2, 3), keepdim=True)
    return F.conv2d(x, (weight - mean) / (variance + 1e-5).sqrt(), s.b.bias)


EXACT = {
    'batch norm, ReLU': lambda: Between(lambda s, x: s.norm(x).relu(), norm=nn.BatchNorm2d(8)),
    'sigmoid': lambda: Between(lambda s, x: x.sigmoid()),
    'softplus': lambda: Between(lambda s, x: F.softplus(x)),
    'squeeze-and-excitation': lambda: Between(
        gated, down=nn.Conv2d(8, 4, 1), up=nn.Conv2d(4, 8, 1)
    ),
    'unit length': lambda: Between(lambda s, x: F.normalize(x, dim=1)),
    'weight norm': lambda: Between(
        lambda s, x: s.b(x), b=nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1))
    ),
    'attention with a scale': lambda: Attention(4, -1, scale=0.3),
    'heads of attention': lambda: Attention(-1, 16),
}
APPROXIMATE = {
    'layer norm': (
        lambda: Between(
            lambda s, x: s.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=nn.LayerNorm(8)
        ),
        {'a': 'native_layer_norm combines its channels'},
    ),
    'layer norm of unit length': (
        lambda: Between(
            lambda s, x: s.norm(F.normalize(x, dim=1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
            norm=nn.LayerNorm(8),
        ),
        {'a': 'native_layer_norm combines its channels'},
    ),
    'group norm': (
        lambda: Between(lambda s, x: s.norm(x), norm=nn.GroupNorm(2, 8)),
        {'a': 'native_group_norm combines its channels'},
    ),
    'mean of all channels': (
        lambda: Between(lambda s, x: x * x.mean(1, keepdim=True)),
        {'a': 'mean combines its channels'},
    ),
    'softmax over channels': (
        lambda: Between(lambda s, x: x.softmax(1)),
        {'a': '_softmax combines its channels'},
    ),
    'largest of all channels': (
        lambda: Between(lambda s, x: x * (x - 9).amax(1, keepdim=True)),
        {'a': 'amax combines its channels'},
    ),
    'standardised weights': (
        lambda: Between(standardized, b=nn.Conv2d(8, 8, 1)),
        {'a': 'var_mean combines its channels'},
    ),
    'attention that scales by the width': (
        lambda: Attention(4, -1),
        {'q': 'bmm combines its channels'},
    ),
}


@pytest.mark.parametrize('case', EXACT)
def test_channels_that_are_zero_are_as_removed(case):
    analysis = analyse(EXACT[case]())
    assert 'a' in {group.name for group in analysis.groups}
    assert set(analysis.skipped) == {'out'}
    assert analysis.approximate == {}


@pytest.mark.parametrize('case', APPROXIMATE)
def test_groups_whose_channels_are_combined_are_pruned_and_named(case):
    build, approximate = APPROXIMATE[case]
    analysis = analyse(build())
    assert set(approximate) <= {group.name for group in analysis.groups if group.mixed_by}
    assert set(analysis.skipped) == {'out'}
    assert analysis.approximate == approximate


def test_a_function_of_the_number_of_channels_is_skipped():
    """Nothing combines the channels, so that zeros should be the same."""
    model = Between(
        lambda s, x: s.out2(s.b(x)) * s.b.out_channels,
        b=nn.Conv2d(8, 8, 1),
        out2=nn.Conv2d(8, 8, 1),
    )
    analysis = analyse(model)
    assert 'b' not in {group.name for group in analysis.groups}
    assert analysis.skipped['b'] == UNLIKE_ZEROS


@pytest.mark.parametrize('width', [2, 4, 8])
def test_heads_of_a_fixed_width_are_removed_as_a_whole(width):
    heads = next(g for g in analyse(Attention(-1, width)).groups if g.name == 'q')
    assert heads.layers == ('q', 'k', 'v')
    assert (heads.size, heads.width, heads.parts) == (64 // width, width, 1)


def test_attention_of_a_single_head():
    class Single(Between):
        def forward(self, x):
            x = self.a(x).flatten(2).transpose(1, 2)
            return self.last(self.attention(x, x, x)[0])

    attention = nn.MultiheadAttention(8, 1, batch_first=True)
    analysis = analyse(Single(None, attention=attention, last=nn.Linear(8, 2)))
    assert {group.name: group.size for group in analysis.groups} == {
        'a': 8,
        'attention.out_proj': 8,
        'attention': 1,
    }
    assert analysis.approximate == {}


def channels_inside_heads(width, *layers, consumers=()):
    """The group that a trace finds where it follows the channels of a head, not the heads."""
    channels = torch.arange(64)
    own = [
        TensorSlice(f'{layer}.{name}', 0, channels, channels)
        for layer in layers
        for name in ('weight', 'bias')
    ]
    return ChannelGroup(
        name=layers[0],
        size=64,
        own=tuple(own),
        consumers=tuple(TensorSlice(f'{n}.weight', 1, channels, channels) for n in consumers),
        layers=layers,
        parts=64 // width,
        mixed_by='' if consumers else 'bmm',
    )


def failures(model, groups):
    check = ValueCheck(model, example_image((6, 6)), forward=lambda model, x: model(x))
    found = check.failures(groups)
    assert set(check.approximate) <= {group.name for group in groups} - set(found)
    return set(found)


@pytest.mark.parametrize('width', [2, 4, 8])
def test_channels_inside_heads_of_a_fixed_width_fail(width):
    """Half of them in each head would merge the heads, which channels in any order still do."""
    groups = [
        channels_inside_heads(width, 'q', 'k'),
        channels_inside_heads(width, 'v', consumers=['project']),
    ]
    assert failures(Attention(-1, width, scale=0.3), groups) == {'q', 'v'}
    assert failures(Attention(64 // width, -1, scale=0.3), groups) == set()


class MeanAttention(Attention):
    """The mean of all heads' attention goes to one value."""

    def forward(self, x):
        x = self.a(x).flatten(2).transpose(1, 2)
        q, k = (each(x).unflatten(2, self.view).transpose(1, 2) for each in (self.q, self.k))
        return self.out(x + (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1).mean(1) @ self.v(x))


@pytest.mark.parametrize('width', [4, 8])
def test_merged_heads_that_no_value_follows_fail(width):
    """The scale depends on the width in any case: zeros do not tell the right from the wrong."""
    group = channels_inside_heads(width, 'q', 'k')
    assert failures(MeanAttention(-1, width), [group]) == {'q'}
    assert failures(MeanAttention(64 // width, -1), [group]) == set()


@pytest.mark.parametrize(('per_part', 'kept'), [(2, 1), (3, 2), (4, 3), (8, 5), (9, 5), (12, 7)])
def test_uneven_half_leaves_parts_of_no_common_divisor(per_part, kept):
    group = ChannelGroup('a', 3 * per_part, (), (), ('a',), parts=3)
    channels = uneven_half(group, torch.Generator().manual_seed(0))
    assert channels.tolist() == sorted(set(channels.tolist()))
    parts = channels.view(3, kept) - torch.arange(3)[:, None] * per_part
    assert torch.equal(parts, parts[:1].expand_as(parts))
