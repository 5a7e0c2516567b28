import copy
import itertools
import logging
import math

import numpy as np
import pytest
import torch
from torch import nn

from adasap_det.pruning import (
    count_params,
    find_channel_groups,
    prune_channels,
    select_channels,
)
from adasap_det.pruning.budgets.cost import params_cost
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.graph.value_check import difference, permuted, random_half, random_order

from ...helpers.toy import (
    FlattenNet,
    GroupedNet,
    GroupNormNet,
    SharedHeadNet,
    ToyDetector,
    randomize,
    toy_batch,
)

SIZE = (6, 6)


def analyse(model, **kwargs):
    return find_channel_groups(model, example_image(SIZE), **kwargs)


def group_with(analysis, layer):
    """The group that a layer computes, and what it is in plain lists."""
    (group,) = [g for g in analysis.groups if layer in g.layers]
    return group


def plain(pieces):
    """Positions and channels by tensor name and dimension; each slice must be there once."""
    listed = [((p.name, p.dim), (p.positions.tolist(), p.channels.tolist())) for p in pieces]
    assert len(dict(listed)) == len(listed)
    return dict(listed)


def whole(size):
    return (list(range(size)), list(range(size)))


class Net(nn.Module):
    """Two convolutions of 8 channels, then whatever a test says, with the layers it names."""

    def __init__(self, end, **layers):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 6, 1)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.end = end

    def forward(self, x):
        return self.end(self, self.b(self.a(x).relu()).relu())


# ------------------------------------------------------------------ groups by hand


def test_residual_and_depthwise_are_one_group():
    analysis = analyse(ToyDetector())
    group = group_with(analysis, 'stem')
    assert group.size == 8
    assert set(group.layers) == {'stem', 'back', 'depth'}
    assert group.norms == ('stem_bn',)
    assert group.parts == 1
    assert plain(group.own) == {
        ('stem.weight', 0): whole(8),
        ('stem_bn.weight', 0): whole(8),
        ('stem_bn.bias', 0): whole(8),
        ('stem_bn.running_mean', 0): whole(8),
        ('stem_bn.running_var', 0): whole(8),
        ('back.weight', 0): whole(8),
        ('back.bias', 0): whole(8),
        ('depth.weight', 0): whole(8),
        ('depth.bias', 0): whole(8),
    }
    assert plain(group.consumers) == {
        ('inner.weight', 1): whole(8),
        ('left.weight', 1): whole(8),
        ('right.weight', 1): whole(8),
    }
    assert group.slices == group.own + group.consumers
    assert len(analysis.groups) == 4
    assert analysis.skipped == {'out': 'out is an output of the model'}


def test_concat_shares_following_norm_and_reader():
    analysis = analyse(ToyDetector())
    left, right = group_with(analysis, 'left'), group_with(analysis, 'right')
    assert plain(left.consumers) == {('out.weight', 1): whole(6)}
    shifted = ([6, 7, 8, 9], [0, 1, 2, 3])
    assert plain(right.own) == {
        ('right.weight', 0): whole(4),
        ('right.bias', 0): whole(4),
        ('joint_bn.weight', 0): shifted,
        ('joint_bn.bias', 0): shifted,
        ('joint_bn.running_mean', 0): shifted,
        ('joint_bn.running_var', 0): shifted,
    }
    assert plain(right.consumers) == {('out.weight', 1): shifted}


def test_linear_layer_reads_every_position_of_flattened_map():
    analysis = analyse(FlattenNet())
    conv, hidden = group_with(analysis, 'conv'), group_with(analysis, 'hidden')
    places = [channel for channel in range(4) for _ in range(36)]
    assert plain(conv.consumers) == {('hidden.weight', 1): (list(range(144)), places)}
    assert hidden.norms == ('norm',)
    assert plain(hidden.own) == {
        ('hidden.weight', 0): whole(7),
        ('hidden.bias', 0): whole(7),
        ('norm.weight', 0): whole(7),
        ('norm.bias', 0): whole(7),
    }


def test_group_norm_defines_parts():
    group = group_with(analyse(GroupNormNet()), 'first')
    assert (group.size, group.parts, group.norms) == (16, 4, ('norm',))


def test_grouped_convolution_defines_input_and_output_parts():
    analysis = analyse(GroupedNet())
    first, grouped = group_with(analysis, 'first'), group_with(analysis, 'grouped')
    assert (first.size, first.parts) == (8, 2)
    assert (grouped.size, grouped.parts) == (12, 2)
    # Every filter sees one half; the positions of the first half stand for both.
    assert plain(first.consumers) == {('grouped.weight', 1): whole(4)}
    assert ('grouped.weight', 0) in plain(grouped.own)


def test_parts_of_several_layers_combine():
    """Four groups and six: the same channels are pruned in each of twelve parts."""
    net = Net(
        lambda s, x: s.end_conv(s.norm(s.wide(x))),
        wide=nn.Conv2d(8, 24, 1, groups=4),
        norm=nn.GroupNorm(6, 24),
        end_conv=nn.Conv2d(24, 2, 1),
    )
    assert group_with(analyse(net), 'wide').parts == 12


def test_head_shared_by_two_levels_and_bare_parameter():
    analysis = analyse(SharedHeadNet())
    first, tower = group_with(analysis, 'first'), group_with(analysis, 'tower')
    # Both levels go into the tower's input, so both are one group.
    assert set(first.layers) == {'first', 'down'}
    assert plain(first.own)['scale.weight', 0] == whole(6)
    assert plain(first.consumers) == {('down.weight', 1): whole(6), ('tower.weight', 1): whole(6)}
    assert plain(tower.consumers) == {('out.weight', 1): whole(4)}


def test_transposed_convolution_swaps_channel_dimensions():
    net = Net(lambda s, x: s.out(s.up(x)), up=nn.ConvTranspose2d(8, 8, 2, 2))
    analysis = analyse(net)
    assert plain(group_with(analysis, 'b').consumers) == {('up.weight', 0): whole(8)}
    assert plain(group_with(analysis, 'up').own) == {
        ('up.weight', 1): whole(8),
        ('up.bias', 0): whole(8),
    }


def test_parametric_activation_is_pruned_with_its_channels():
    analysis = analyse(Net(lambda s, x: s.out(s.act(x)), act=nn.PReLU(8)))
    assert ('act.weight', 0) in plain(group_with(analysis, 'b').own)
    analysis = analyse(Net(lambda s, x: s.out(s.act(x)), act=nn.PReLU()))
    assert ('act.weight', 0) not in plain(group_with(analysis, 'b').own)


# ------------------------------------------------------------------ the model is not touched


def test_analysis_does_not_change_the_model():
    model = ToyDetector().train()
    model.stem_bn.eval()
    model.stem.requires_grad_(False)
    model.out.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    random = torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()
    analyse(model)
    assert (np.random.get_state()[1] == numbers).all()
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == needs
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_frozen_parameters_belong_to_groups():
    model = ToyDetector()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        frozen = analyse(model)
    free = analyse(ToyDetector())
    assert [g.name for g in frozen.groups] == [g.name for g in free.groups]
    assert [plain(g.slices) for g in frozen.groups] == [plain(g.slices) for g in free.groups]


class FreezingNet(Net):
    """Freezes its first convolution whenever its mode is set, as mmdet's backbones do."""

    def train(self, mode=True):
        super().train(mode)
        self.a.requires_grad_(False)
        return self


def test_self_frozen_layers_are_skipped_and_logged(monkeypatch):
    logged = []
    monkeypatch.setattr(
        'adasap_det.pruning.graph.analysis.print_log', lambda line, **kwargs: logged.append(line)
    )
    analysis = analyse(FreezingNet(lambda s, x: s.out(x)))
    assert [g.name for g in analysis.groups] == ['b']
    assert analysis.skipped == {
        'a': 'a is frozen by the model itself',
        'out': 'out is an output of the model',
    }
    assert logged[0] == 'Layers skipped because the model itself freezes them: a'


def test_first_layers_after_self_frozen_layers_are_pruned():
    """The outputs of 'b' are pruned; its inputs, from the frozen 'a', are not."""
    group = group_with(analyse(FreezingNet(lambda s, x: s.out(x))), 'b')
    assert plain(group.own) == {('b.weight', 0): whole(8), ('b.bias', 0): whole(8)}
    assert plain(group.consumers) == {('out.weight', 1): whole(8)}


def test_fully_self_frozen_model_has_no_groups():
    class Frozen(Net):
        def train(self, mode=True):
            return super().train(mode).requires_grad_(False)

    reason = r'no channel .* can be pruned \(.*a: a is frozen by the model itself; b: b is frozen'
    with pytest.raises(ValueError, match=reason):
        analyse(Frozen(lambda s, x: s.out(x)))


# ------------------------------------------------------------------ skipped and followed


@pytest.mark.parametrize(
    ('end', 'layers', 'outputs'),
    [
        (lambda s, x: s.out(x).sigmoid(), {}, {'out'}),
        (lambda s, x: s.out(x).permute(0, 2, 3, 1).reshape(1, -1, 3), {}, {'out'}),
        (lambda s, x: s.out(x) + s.more(x), {'more': nn.Conv2d(8, 6, 1)}, {'out', 'more'}),
        (lambda s, x: {'boxes': [s.out(x), s.more(x)]}, {'more': nn.Conv2d(8, 2, 1)}, None),
        (lambda s, x: torch.cat([s.out(x), s.more(x)], 1), {'more': nn.Conv2d(8, 2, 1)}, None),
    ],
)
def test_outputs_are_skipped_with_reason(end, layers, outputs):
    analysis = analyse(Net(end, **layers))
    assert {g.name for g in analysis.groups} == {'a', 'b'}
    for name, reason in analysis.skipped.items():
        assert name in {'out', 'more'}
        assert reason in {f'{layer} is an output of the model' for layer in ('out', 'more')}


def test_an_output_under_a_norm():
    analysis = analyse(Net(lambda s, x: s.norm(s.out(x)), norm=nn.BatchNorm2d(6)))
    assert analysis.skipped == {'out': 'out is an output of the model'}


@pytest.mark.parametrize('function', [lambda x: x, torch.relu, lambda x: x.mean((2, 3))])
def test_an_output_that_the_model_also_reads_itself(function):
    analysis = analyse(Net(lambda s, x: [function(x), s.out(x)]))
    assert {g.name for g in analysis.groups} == {'a'}
    assert set(analysis.skipped) == {'b', 'out'}
    assert 'output of the model' in analysis.skipped['b']


class ShuffledNet(Net):
    """Two groups are mixed channel by channel, as in ShuffleNetV1."""

    def __init__(self):
        super().__init__(self.end, grouped=nn.Conv2d(8, 8, 1, groups=2))

    def end(self, s, x):
        x = s.grouped(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return s.out(x)


def linear_net(end, features, **layers):
    return Net(end, linear=nn.Linear(features, 5), **layers)


def tied_net():
    net = Net(lambda s, x: s.out(s.d(s.c(x).relu())), c=nn.Conv2d(8, 8, 1), d=nn.Conv2d(8, 8, 1))
    net.d.weight = net.c.weight
    return net


FOLLOWED = {
    'two layers with one kernel': tied_net,
    'flatten after permute': lambda: linear_net(
        lambda s, x: s.linear(x.permute(0, 2, 3, 1).flatten(1)), 8 * 36
    ),
    'a shuffle of two groups': ShuffledNet,
    'two halves swapped': lambda: Net(lambda s, x: s.out(torch.cat(x.chunk(2, 1)[::-1], 1))),
    'a gate of half of the channels': lambda: Net(
        lambda s, x: s.end_conv(nn.functional.glu(x, 1)), end_conv=nn.Conv2d(4, 2, 1)
    ),
    'flip': lambda: Net(lambda s, x: s.out(x.flip(1))),
    'interleaved flatten of two layers': lambda: linear_net(
        lambda s, x: s.linear(torch.stack([x, s.c(x)], 1).flatten(1)), 16 * 36, c=nn.Conv2d(8, 8, 1)
    ),
    'pixel shuffle': lambda: Net(
        lambda s, x: s.end_conv(nn.functional.pixel_shuffle(x, 2)), end_conv=nn.Conv2d(2, 2, 1)
    ),
    'pixel shuffle by hand': lambda: Net(
        lambda s, x: s.end_conv(
            x.view(1 * len(x), -1, 2, 2, 6, 6).permute(0, 1, 4, 2, 5, 3).reshape(len(x), -1, 12, 12)
        ),
        end_conv=nn.Conv2d(2, 2, 1),
    ),
    'a gate of all channels': lambda: Net(
        lambda s, x: s.out(x * x.mean(1, keepdim=True).sigmoid())
    ),
    'a persistent buffer of one value a channel': lambda: net_with_buffer(),
    'a parameter of one value a place': lambda: Net(
        lambda s, x: s.out(x + s.place), place=nn.Parameter(torch.ones(1, 8, 6, 6))
    ),
    'a norm over channels and places': lambda: Net(
        lambda s, x: s.out(s.special(x)), special=nn.LayerNorm([8, 6, 6])
    ),
    'a grouped transposed convolution': lambda: Net(
        lambda s, x: s.out(s.special(x)), special=nn.ConvTranspose2d(8, 8, 2, 2, groups=2)
    ),
    'groups over a concat': lambda: Net(
        lambda s, x: s.end_conv(s.special(torch.cat([x, s.c(x)], 1))),
        c=nn.Conv2d(8, 8, 1),
        special=nn.Conv2d(16, 8, 1, groups=4),
        end_conv=nn.Conv2d(8, 2, 1),
    ),
    'a group norm over a concat': lambda: Net(
        lambda s, x: s.end_conv(s.special(torch.cat([x, s.c(x)], 1))),
        c=nn.Conv2d(8, 8, 1),
        special=nn.GroupNorm(4, 16),
        end_conv=nn.Conv2d(16, 2, 1),
    ),
    'reparametrised weights': lambda: Net(
        lambda s, x: s.out(s.special(x)),
        special=nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
    ),
    'a concat of many flattened maps': lambda: linear_net(
        lambda s, x: s.linear(torch.cat([x.flatten(1), s.c(x).flatten(1)], 1)),
        16 * 36,
        c=nn.Conv2d(8, 8, 1),
    ),
}

MIXED = ('a gate of all channels', 'a norm over channels and places', 'a group norm over a concat')


@pytest.mark.parametrize('case', FOLLOWED)
def test_pruned_network_equals_the_network_with_zeros(case):
    """Right whatever moves the channels; where a norm sees all channels, the order is compared."""
    torch.manual_seed(0)
    model = randomize(FOLLOWED[case]()).double()
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    analysis = analyse(model)
    (group,) = [g for g in analysis.groups if 'b' in g.layers]
    generator = torch.Generator().manual_seed(0)
    kept = random_half(group, generator)
    order = random_order(group, generator)
    assert 0 < len(kept) < group.size
    masked = copy.deepcopy(model)
    removed = ~torch.isin(torch.arange(group.size), kept)
    tensors = dict([*masked.named_parameters(), *masked.named_buffers()])
    nearly_zero = 1e-100  # weight norm divides zero by zero
    for piece in group.slices:
        gone = piece.positions[removed[piece.channels]]
        with torch.no_grad():
            tensors[piece.name].index_fill_(piece.dim, gone, nearly_zero)
    other = permuted(model, [group], {group.name: order})
    assert not torch.equal(other.b.weight, model.b.weight)
    torch.testing.assert_close(other(images), model(images), rtol=1e-12, atol=1e-12)
    prune_channels(model, [group], {group.name: kept})
    assert set(analysis.approximate) == ({'b'} if case in MIXED else set())
    if case in MIXED:
        moved = torch.isin(order, kept).nonzero().flatten()
        prune_channels(other, [group], {group.name: moved})
        expected = other(images)
    else:
        expected = masked(images)
    torch.testing.assert_close(model(images), expected, rtol=1e-12, atol=1e-12)
    assert model.b.weight.shape[0] < 8
    model.train()(images).sum().backward()


def test_features_beside_the_predictions_are_pruned_where_they_are_named():
    def net():
        return Net(
            lambda s, x: {'predictions': s.out(x), 'features': [x.clone(), s.c(x)]}, c=nn.ReLU()
        )

    assert {g.name for g in analyse(net()).groups} == {'a'}
    analysis = analyse(net(), prunable_outputs=['c'])
    assert analysis.skipped['b'] == 'b is an output of the model'  # the copy is one still
    features = Net(lambda s, x: (s.out(x), s.c(x)), c=nn.ReLU())
    assert {g.name for g in analyse(features).groups} == {'a'}
    assert {g.name for g in analyse(features, prunable_outputs=['c']).groups} == {'a', 'b'}
    with pytest.raises(ValueError, match=r"prunable_outputs pattern 'd' matches no layer"):
        analyse(features, prunable_outputs=['d'])


def net_with_buffer(*, persistent=True):
    net = Net(lambda s, x: s.out(x + s.offset))
    net.register_buffer('offset', torch.ones(1, 8, 1, 1), persistent=persistent)
    return net


SKIPPED = {
    'split at a fixed channel': (
        lambda: Net(lambda s, x: s.out(torch.cat(x.split([3, 5], 1)[::-1], 1))),
        'with half of its channels the model fails: ',
    ),
    'a buffer that is not saved': (
        lambda: net_with_buffer(persistent=False),
        'offset is a buffer that checkpoints do not hold',
    ),
    'a norm without parameters': (
        lambda: Net(
            lambda s, x: s.out(s.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
            norm=nn.LayerNorm(8, elementwise_affine=False),
        ),
        'with half of its channels the model fails: Given normalized_shape=[8]',
    ),
    'roll by a number of channels': (
        lambda: Net(lambda s, x: s.out(x.roll(3, 1))),
        'removing half of its channels is not the same as setting them to zero',
    ),
    'a constant of one value a channel': (
        lambda: Net(lambda s, x: s.out(x * torch.linspace(1, 2, 8)[:, None, None].to(x))),
        'its channels are combined with a constant for each of them',
    ),
    'a constant matrix': (
        lambda: Net(
            lambda s, x: s.out(
                (x.permute(0, 2, 3, 1) @ torch.linspace(1, 2, 64).view(8, 8).to(x)).permute(
                    0, 3, 1, 2
                )
            )
        ),
        'with half of its channels the model fails',
    ),
    'an operator that is not known': (
        lambda: Net(
            lambda s, x: s.out(torch.fft.rfft(x, n=8, dim=1).real.repeat(1, 2, 1, 1)[:, :8])
        ),
        'its channels go through _fft_r2c, which is not supported',
    ),
    'single channels': (
        lambda: Net(lambda s, x: s.out(x * x[:, :1])),
        'its channels are indexed one by one',
    ),
    'a recurrent layer': (
        lambda: linear_net(
            lambda s, x: s.linear(s.rnn(x.flatten(2).transpose(1, 2))[0]),
            4,
            rnn=nn.LSTM(8, 4, batch_first=True),
        ),
        None,
    ),
}


@pytest.mark.parametrize('case', SKIPPED)
def test_what_cannot_be_pruned_is_skipped_with_its_reason(case):
    build, reason = SKIPPED[case]
    model = build()
    analysis = analyse(model)
    assert {g.name for g in analysis.groups} == {'a'}
    assert analysis.skipped['b'].startswith(reason or '')
    assert model.b.weight.shape[0] == 8


class Masked(nn.Module):
    """Training multiplies channels by a random mask, and has a branch of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.dropout = nn.Conv2d(3, 8, 1), nn.Dropout(0.5)
        self.out, self.aux = nn.Conv2d(8, 5, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = self.dropout(self.a(x))
        return (self.out(x), self.aux(x)) if self.training else self.out(x)


def test_dropout_of_a_training_pass_is_no_constant():
    (group,) = analyse(Masked()).groups
    assert {piece.name for piece in group.consumers} == {'out.weight', 'aux.weight'}


def test_permutation_error_is_relative_to_each_output():
    outputs = [torch.tensor([1.0, -2.0]), torch.tensor([100.0])]
    assert difference(outputs, outputs) == 0
    other = [torch.tensor([1.0, -2.5]), torch.tensor([100.0])]
    assert difference(other, outputs) == 0.25
    assert difference([outputs[0], outputs[1] * torch.nan], outputs) == math.inf
    assert difference([torch.ones(1)], [torch.zeros(1)]) == math.inf
    assert difference([torch.ones(2)], [torch.ones(1)]) == math.inf


def test_permutation_error_of_right_groups_is_of_rounding_only():
    assert 0 < analyse(Net(lambda s, x: s.out(x))).permutation_error < 1e-14


class PaddedShortcut(nn.Module):
    """ResNet's option A: the shortcut's missing channels are zeros, a fixed number of them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.a(x).relu()
        return self.out((self.b(x) + nn.functional.pad(x, (0, 0, 0, 0, 2, 2))).relu())


def test_padded_shortcut_is_right_or_skipped():
    try:
        analysis = find_channel_groups(PaddedShortcut(), example_image(SIZE))
    except ValueError as error:
        assert 'no channel of the model can be pruned' in str(error)
        return
    model = randomize(PaddedShortcut()).double()
    orders = {g.name: random_order(g, torch.Generator().manual_seed(0)) for g in analysis.groups}
    images = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    other = permuted(model, analysis.groups, orders)
    torch.testing.assert_close(other(images), model(images), rtol=1e-12, atol=1e-12)
    prune_channels(
        model,
        analysis.groups,
        {g.name: random_half(g, torch.Generator().manual_seed(0)) for g in analysis.groups},
    )
    model(images)


def test_skipped_group_is_reported(monkeypatch):
    logged = []
    monkeypatch.setattr(
        'adasap_det.pruning.graph.analysis.print_log',
        lambda *args, **kwargs: logged.append((args, kwargs)),
    )
    analyse(SKIPPED['roll by a number of channels'][0]())
    warned = [args for args, options in logged if options.get('level') == logging.WARNING]
    ((message,),) = warned
    assert message.startswith('b is skipped: removing half of its channels is not the same')


def test_each_stage_is_logged(monkeypatch):
    logged = []
    for module in ('analysis', 'value_check'):
        monkeypatch.setattr(
            f'adasap_det.pruning.graph.{module}.print_log',
            lambda line, **options: logged.append(line.partition('channel groups: ')[2] or line),
        )
    analyse(Net(lambda s, x: s.out(x)))
    assert logged == [
        'Tracing the channels of the model',
        'half of the channels, in evaluation mode',
        'half of the channels, in training mode',
        'in another order',
        'half of the channels removed or zero',
        'negative control',
    ]


class AuxiliaryNet(Net):
    """A second output of the training pass only."""

    def __init__(self, reads=8):
        super().__init__(self.end, aux=nn.Conv2d(reads, 6, 1), aux_out=nn.Conv2d(6, 2, 1))

    def end(self, s, x):
        if s.training:
            return s.out(x), s.aux_out(s.aux(x).relu())
        return s.out(x)


def test_layers_of_the_training_pass_are_followed():
    model = AuxiliaryNet()
    analysis = analyse(model)
    assert {g.name for g in analysis.groups} == {'a', 'b', 'aux'}
    assert ('aux.weight', 1) in plain(group_with(analysis, 'b').consumers)
    assert analysis.skipped['aux_out'] == 'aux_out is an output of the model'
    kept = {g.name: torch.arange(2) for g in analysis.groups}
    prune_channels(model, analysis.groups, kept)
    sum(out.sum() for out in model.train()(torch.rand(2, 3, 6, 6))).backward()


def test_parameters_of_the_training_pass_are_followed():
    """A table of embeddings that is concatenated to the features in training only."""

    def end(s, x):
        tokens = x.flatten(2).transpose(1, 2)
        if s.training:
            more = s.table(torch.zeros(len(x), 3, dtype=torch.long))
            tokens = torch.cat([tokens, more], dim=1)
        return s.end_linear(tokens).mean(1)

    model = Net(end, table=nn.Embedding(5, 8), end_linear=nn.Linear(8, 2))
    group = group_with(analyse(model), 'b')
    assert plain(group.own)['table.weight', 1] == whole(8)


def test_layers_that_never_run_are_skipped():
    analysis = analyse(Net(lambda s, x: s.out(x), spare=nn.Conv2d(8, 8, 1)))
    assert analysis.skipped['spare'] == 'spare is not run by the traced forward pass'


def test_every_layer_is_in_a_group_or_skipped():
    model = ToyDetector()
    for exclude in ([], ['stem'], ['joint_bn']):
        analysis = analyse(model, exclude=exclude)
        layers = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
        grouped = {layer for group in analysis.groups for layer in group.layers}
        assert grouped | set(analysis.skipped) == layers
        assert not grouped & set(analysis.skipped)


def test_model_that_cannot_run_on_the_inputs():
    with pytest.raises(ValueError, match=r'cannot be run on inputs of shape \(1, 3, 6, 6\): '):
        analyse(nn.Conv2d(4, 2, 1))


def test_inputs_of_another_number_of_dimensions():
    with pytest.raises(ValueError, match=r'cannot be run on inputs of shape \(1, 12\): '):
        find_channel_groups(Net(lambda s, x: s.out(x)), torch.rand(1, 12))


@pytest.mark.parametrize(
    'outputs',
    [lambda x, calls: x[:, : 2 + calls % 2], lambda x, calls: [x] * (1 + calls % 2)],
    ids=['shapes', 'structure'],
)
def test_model_that_returns_other_things_in_each_call(outputs):
    calls = itertools.count()
    with pytest.raises(ValueError, match='returns outputs of other shapes when it is called again'):
        analyse(Net(lambda s, x: outputs(s.out(x), next(calls))))


def test_model_without_layers():
    for model in (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), nn.ReLU()):
        with pytest.raises(ValueError, match='the model has no layer to prune'):
            analyse(model)


def test_nothing_can_be_pruned():
    with pytest.raises(ValueError, match=r'no channel .* can be pruned \(0: 0 is an output'):
        analyse(nn.Sequential(nn.Conv2d(3, 4, 1)))


# ------------------------------------------------------------------ exclude


@pytest.mark.parametrize(
    ('exclude', 'left'),
    [
        (['inner'], {'stem', 'left', 'right'}),
        (['stem'], {'inner', 'left', 'right'}),  # and with it all that is added to it
        (['*ght', 'left'], {'stem', 'inner'}),
        (['inner_bn'], {'stem', 'left', 'right'}),  # a norm layer names its channels too
        (['joint_bn'], {'stem', 'inner'}),
        (['dropout'], {'stem', 'inner', 'left', 'right'}),
    ],
)
def test_exclude(exclude, left):
    analysis = analyse(ToyDetector(), exclude=exclude)
    layers = {layer for group in analysis.groups for layer in group.layers}
    assert {'stem', 'inner', 'left', 'right'} & layers == left
    excluded = {name for name, reason in analysis.skipped.items() if 'is excluded' in reason}
    assert (
        excluded & {'stem', 'inner', 'left', 'right'} == {'stem', 'inner', 'left', 'right'} - left
    )


def test_exclude_module_with_its_children():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
            self.neck = nn.Conv2d(4, 4, 1)
            self.head = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.head(self.neck(self.backbone(x)))

    analysis = analyse(Outer(), exclude=['backbone'])
    assert [g.name for g in analysis.groups] == ['neck']
    assert analysis.skipped['backbone.0'] == 'backbone.0 is excluded'
    analysis = analyse(Outer(), exclude=['backbone.?'])
    assert [g.name for g in analysis.groups] == ['neck']


def test_exclude_by_a_bare_parameter():
    analysis = analyse(SharedHeadNet(), exclude=['scale'])
    assert [g.name for g in analysis.groups] == ['tower']


def test_an_exclude_pattern_that_matches_nothing():
    with pytest.raises(ValueError, match=r"'inner\.conv' matches no layer .* stem, inner, back"):
        analyse(ToyDetector(), exclude=['inner', 'inner.conv'])


# ------------------------------------------------------------------ after pruning


@pytest.mark.parametrize('net', [ToyDetector, FlattenNet, SharedHeadNet, GroupedNet, GroupNormNet])
def test_groups_after_pruning_match_new_analysis(net):
    """After two cuts in a row, the second from the groups that the first left."""
    torch.manual_seed(0)
    model = net()
    groups = analyse(model).groups
    for _ in range(2):
        kept = {}
        for group in groups[::-1]:
            per_part = group.size // group.parts
            stays = torch.rand(per_part) < 0.7
            stays[torch.randint(per_part, ())] = True
            kept[group.name] = stays.repeat(group.parts).nonzero().flatten()
        groups = prune_channels(model, groups, kept)
        fresh = analyse(model).groups
        assert [g.name for g in groups] == [g.name for g in fresh]
        for actual, expected in zip(groups, fresh, strict=True):
            assert plain(actual.own) == plain(expected.own)
            assert plain(actual.consumers) == plain(expected.consumers)
            for field in ('size', 'layers', 'norms', 'parts'):
                assert getattr(actual, field) == getattr(expected, field)
    if net is ToyDetector:
        model(**toy_batch(0), mode='loss')


class ConcatUnderAdd(nn.Module):
    """Two layers side by side are added to a third: one group, of which each has a share."""

    def __init__(self, left=4):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, left, 1), nn.Conv2d(3, 4, 1)
        self.whole = nn.Conv2d(3, left + 4, 1)
        self.out = nn.Conv2d(left + 4, 2, 1)

    def forward(self, x):
        return self.out(torch.cat([self.left(x), self.right(x)], 1) + self.whole(x))


def test_channels_of_two_layers_side_by_side_are_two_groups():
    left, right = find_channel_groups(ConcatUnderAdd(3), example_image((6, 6))).groups
    assert (left.layers, right.layers) == (('left', 'whole'), ('right', 'whole'))
    assert plain(left.own)['whole.weight', 0] == whole(3)
    assert plain(right.own)['whole.weight', 0] == ([3, 4, 5, 6], [0, 1, 2, 3])


def test_cost_of_two_layers_side_by_side_is_predicted():
    model = ConcatUnderAdd()
    groups = find_channel_groups(model, example_image((6, 6))).groups
    cost = params_cost(model, groups)
    scores = [torch.tensor([1.0, 4.0, 3.0, 2.0]), torch.tensor([4.0, 1.0, 2.0, 3.0])]
    kept = select_channels(groups, scores, cost, limit=0.6 * cost.cost(), round_to=2)
    foretold = cost.cost({name: len(channels) for name, channels in kept.items()})
    prune_channels(model, groups, kept)
    assert foretold == count_params(model) <= 0.6 * cost.cost()
    assert model.left.out_channels == model.right.out_channels == 2


def test_every_layer_keeps_a_channel():
    """All of 'left' is worth less than any of 'right'; one of it stays all the same."""
    model = ConcatUnderAdd(3)
    groups = find_channel_groups(model, example_image((6, 6))).groups
    scores = [torch.tensor([0.1, 0.4, 0.3]), torch.tensor([5.0, 6.0, 7.0, 8.0])]
    cost = params_cost(model, groups)
    kept = select_channels(groups, scores, cost, limit=0.5 * cost.cost())
    prune_channels(model, groups, kept)
    assert model.left.out_channels == 1
    assert model(torch.rand(1, 3, 6, 6)).shape == (1, 2, 6, 6)
