import copy
import logging

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

from ...helpers.toy import (
    FlattenNet,
    GroupedNet,
    GroupNormNet,
    SharedHeadNet,
    ToyDetector,
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
    analyse(model)
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
    assert logged == ['Layers skipped because the model itself freezes them: a']


def test_first_layers_after_self_frozen_layers_are_pruned():
    """The outputs of 'b' are pruned; its inputs, from the frozen 'a', are not."""
    group = group_with(analyse(FreezingNet(lambda s, x: s.out(x))), 'b')
    assert plain(group.own) == {('b.weight', 0): whole(8), ('b.bias', 0): whole(8)}
    assert plain(group.consumers) == {('out.weight', 1): whole(8)}


def test_fully_self_frozen_model_has_no_groups():
    class Frozen(Net):
        def train(self, mode=True):
            return super().train(mode).requires_grad_(False)

    reason = r'no channel .* can be pruned \(a: a is frozen by the model itself; b: b is frozen'
    with pytest.raises(ValueError, match=reason):
        analyse(Frozen(lambda s, x: s.out(x)))


# ------------------------------------------------------------------ what stays whole


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
    assert analysis.skipped == {'out': 'norm is an output of the model'}


@pytest.mark.parametrize('function', [lambda x: x, torch.relu, lambda x: x.mean((2, 3))])
def test_an_output_that_the_model_also_reads_itself(function):
    analysis = analyse(Net(lambda s, x: [function(x), s.out(x)]))
    assert {g.name for g in analysis.groups} == {'a'}
    assert set(analysis.skipped) == {'b', 'out'}
    assert 'output of the model' in analysis.skipped['b']


def net_with_buffer():
    net = Net(lambda s, x: s.out(x + s.offset))
    net.register_buffer('offset', torch.ones(1, 8, 1, 1))
    return net


UNSEEN = {
    'split at a fixed channel': lambda: Net(
        lambda s, x: s.out(torch.cat(x.split(4, 1)[:1] * 2, 1)),
    ),
    'a buffer of one value a channel': net_with_buffer,
    'a norm without parameters': lambda: Net(
        lambda s, x: s.out(s.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
        norm=nn.LayerNorm(8, elementwise_affine=False),
    ),
    'a parameter of one value a place': lambda: Net(
        lambda s, x: s.out(x + s.place), place=nn.Parameter(torch.ones(1, 8, 6, 6))
    ),
}


@pytest.mark.parametrize('case', UNSEEN)
def test_trial_pruning_finds_hidden_dependencies(case, caplog):
    model = UNSEEN[case]()
    analysis = analyse(model)
    assert {g.name for g in analysis.groups} == {'a'}
    assert analysis.skipped['b'].startswith('without one of its channels the model fails: ')
    assert model.b.weight.shape[0] == 8


def test_trial_failure_is_reported(monkeypatch):
    logged = []
    monkeypatch.setattr(
        'adasap_det.pruning.graph.analysis.print_log',
        lambda *args, **kwargs: logged.append((args, kwargs)),
    )
    analyse(net_with_buffer())
    ((message,), options) = logged[0]
    assert message.startswith('b is skipped: without one of its channels')
    assert options['level'] == logging.WARNING
    assert len(logged) == 1


@pytest.mark.parametrize(
    ('layer', 'channels'), [(nn.Conv2d(16, 8, 1, groups=4), 8), (nn.GroupNorm(4, 16), 16)]
)
def test_parts_over_a_concat_are_skipped(layer, channels):
    """The parts would not be those of either group any more."""
    net = Net(
        lambda s, x: s.end_conv(s.parted(torch.cat([x, s.c(x)], 1))),
        c=nn.Conv2d(8, 8, 1),
        parted=layer,
        end_conv=nn.Conv2d(channels, 2, 1),
    )
    analysis = analyse(net)
    reason = 'parted takes them in 4 parts together with others'
    assert analysis.skipped['b'] == analysis.skipped['c'] == reason


@pytest.mark.parametrize(
    ('layer', 'reason'),
    [
        (nn.ConvTranspose2d(8, 8, 2, 2, groups=2), 'special is a grouped transposed convolution'),
        (nn.LayerNorm([8, 6, 6]), 'special normalises over more than the channels'),
    ],
)
def test_layers_that_are_not_supported(layer, reason):
    analysis = analyse(Net(lambda s, x: s.out(s.special(x)), special=layer))
    assert analysis.skipped['b'] == reason
    assert 'a' in {g.name for g in analysis.groups}


def test_attention_is_not_supported():
    net = Net(
        lambda s, x: s.end_linear(s.attention(*[x.flatten(2).transpose(1, 2)] * 3)[0]),
        attention=nn.MultiheadAttention(8, 2),
        end_linear=nn.Linear(8, 2),
    )
    assert 'MultiheadAttention' in analyse(net).skipped['b']


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
    assert sum('is excluded' in reason for reason in analysis.skipped.values()) == 4 - len(left)


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


def test_segments_are_the_channel_subsets_of_layers():
    (group,) = find_channel_groups(ConcatUnderAdd(3), example_image((6, 6))).groups
    assert sorted(segment.tolist() for segment in group.segments) == [[0, 1, 2], [3, 4, 5, 6]]
    assert group.parts == 1


def test_equal_subsets_lose_the_same_channels_and_cost_is_predicted():
    model = ConcatUnderAdd()
    groups = find_channel_groups(model, example_image((6, 6))).groups
    assert groups[0].parts == 2
    cost = params_cost(model, groups)
    score = torch.tensor([1.0, 4.0, 3.0, 2.0]).repeat(2)
    kept = select_channels(groups, [score], cost, limit=0.6 * cost.cost(), round_to=2)
    foretold = cost.cost({name: len(channels) for name, channels in kept.items()})
    assert kept[groups[0].name].tolist() == [1, 2, 5, 6]
    prune_channels(model, groups, kept)
    assert foretold == count_params(model)
    assert model.left.out_channels == model.right.out_channels == 2


def test_every_layer_keeps_a_channel():
    """All of 'left' is worth less than any of 'right'; one of it stays all the same."""
    model = ConcatUnderAdd(3)
    groups = find_channel_groups(model, example_image((6, 6))).groups
    score = torch.tensor([0.1, 0.4, 0.3, 5.0, 6.0, 7.0, 8.0])
    cost = params_cost(model, groups)
    kept = select_channels(groups, [score], cost, limit=0.5 * cost.cost())
    prune_channels(model, groups, kept)
    assert model.left.out_channels == 1
    assert model(torch.rand(1, 3, 6, 6)).shape == (1, 2, 6, 6)
