from dataclasses import replace

import pytest
import torch
from torch import nn

from adasap_det.pruning import TaylorImportance, find_channel_groups
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.residual_blocks import ResidualBlock
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.importance.base import NORMALIZERS
from adasap_det.pruning.surgery import prune_channels

from ...helpers.attention import HEADS, MODULES, build, groups_of
from ...helpers.toy import ResidualNet, randomize, toy_batch

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
    groups = find_channel_groups(model, example_image(SIZE)).groups
    model(torch.rand(2, 3, 6, 6)).square().sum().backward()
    importance = TaylorImportance()
    importance.observe(groups, model)
    (score,) = importance.scores(groups, model)
    first = model[0]
    signed = (first.weight * first.weight.grad).flatten(1).sum(1) + first.bias * first.bias.grad
    assert torch.allclose(score, signed.abs().detach(), rtol=1e-4)


def test_taylor_state_round_trips(toy):
    model, groups = toy.model, toy.groups
    importance = TaylorImportance()
    backward(model, 1)
    importance.observe(groups, model)
    importance.keep(groups[0], torch.arange(groups[0].size))
    again = TaylorImportance()
    again.load_state_dict(importance.state_dict())
    for each in (importance, again):
        each.observe(groups, model)
    for a, b in zip(again.scores(groups, model), importance.scores(groups, model), strict=True):
        assert torch.equal(a, b)


def test_taylor_keeps_the_scores_of_what_remains_until_there_are_new_ones(toy):
    model, groups = toy.model, toy.groups
    importance = TaylorImportance()
    backward(model, 1)
    importance.observe(groups, model)
    before = importance.scores(groups, model)
    kept = [torch.arange(0, group.size, 2) for group in groups]
    smaller = prune_channels(model, groups, {g.name: k for g, k in zip(groups, kept, strict=True)})
    for group, channels in zip(groups, kept, strict=True):
        importance.keep(group, channels)
    after = importance.scores(smaller, model)
    for score, old, channels in zip(after, before, kept, strict=True):
        assert torch.equal(score, old[channels])
    assert len({float(value) for score in after for value in score}) > 2
    backward(model, 2)
    importance.observe(smaller, model)
    fresh = TaylorImportance()
    fresh.observe(smaller, model)
    for a, b in zip(importance.scores(smaller, model), fresh.scores(smaller, model), strict=True):
        assert torch.equal(a, b)


def test_taylor_is_known_from_the_first_finite_gradient(toy):
    model, groups = toy.model, toy.groups
    importance = TaylorImportance()
    assert not importance.known
    assert all((score == 1).all() for score in importance.scores(groups, model))
    backward(model, 1)
    for parameter in model.parameters():
        parameter.grad.fill_(float('inf'))
    importance.observe(groups, model)
    assert not importance.known
    backward(model, 1)
    importance.observe(groups, model)
    assert importance.known


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_taylor_leaves_out_gradients_that_are_not_finite(toy, bad):
    model, groups = toy.model, toy.groups
    importance, expected = TaylorImportance(), TaylorImportance()
    for seed in (1, 2):
        backward(model, seed)
        expected.observe(groups, model)
        importance.observe(groups, model)
        model.inner_bn.weight.grad[0] = bad
        importance.observe([g for g in groups if 'inner' in g.layers], model)
    torch.testing.assert_close(toy(importance, 'inner'), toy(expected, 'inner'))


def test_taylor_is_averaged_over_the_ranks_that_have_finite_gradients(toy, monkeypatch):
    model, groups = toy.model, toy.groups
    alone = {}
    for seed in (1, 2):
        torch.manual_seed(seed)  # dropout
        backward(model, seed)
        alone[seed] = TaylorImportance()
        alone[seed].observe(groups, model)
    sizes = [group.size for group in groups]
    gains = torch.cat([alone[2]._sums[group.name] for group in groups])
    finite = torch.ones(len(groups))
    finite[0] = 0.0
    gains[: sizes[0]] = 0.0

    def all_reduce(mine, op):
        assert op == 'sum'
        mine += torch.cat([gains, finite])

    monkeypatch.setattr('adasap_det.pruning.importance.taylor.get_world_size', lambda: 2)
    monkeypatch.setattr('adasap_det.pruning.importance.taylor.all_reduce', all_reduce)
    torch.manual_seed(1)
    backward(model, 1)
    both = TaylorImportance()
    both.observe(groups, model)
    first, *others = zip(
        both.scores(groups, model), alone[1].scores(groups, model), alone[2].scores(groups, model),
        strict=True,
    )  # fmt: skip
    torch.testing.assert_close(first[0], first[1])
    for mean, one, two in others:
        torch.testing.assert_close(mean, (one + two) / 2)


def test_taylor_squared_by_hand():
    """Gains 2 and -4, then 0 and 4: squares 4 and 16, then 0 and 16, on average 2 and 16."""
    model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1))
    groups = find_channel_groups(model, example_image(SIZE)).groups
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


# ------------------------------------------------------------------ frozen layers


def freeze(*modules):
    for module in modules:
        module.requires_grad_(False)


def observed(toy, *, seed=1, **options):
    """Taylor importance of the toy after one step."""
    backward(toy.model, seed)
    importance = TaylorImportance(**options)
    importance.observe(toy.groups, toy.model)
    return importance


def gain_of(layer):
    """Weight times gradient of each filter of a layer and its bias."""
    gain = (layer.weight * layer.weight.grad).flatten(1).sum(1)
    return (gain if layer.bias is None else gain + layer.bias * layer.bias.grad).detach()


def test_taylor_uses_weights_where_norms_are_frozen(toy):
    """Norms that neither learn nor take statistics of the batch: mmdet's caffe backbones."""
    model = toy.model
    for norm in (model.stem_bn, model.inner_bn, model.joint_bn):
        freeze(norm.eval())
    importance = observed(toy)
    together = gain_of(model.stem) + gain_of(model.back) + gain_of(model.depth)
    torch.testing.assert_close(toy(importance, 'stem'), together.abs())
    torch.testing.assert_close(toy(importance, 'inner'), gain_of(model.inner).abs())
    torch.testing.assert_close(toy(importance, 'left'), gain_of(model.left).abs())


def test_taylor_uses_trainable_norms_where_another_is_frozen(toy):
    freeze(toy.model.joint_bn.eval())
    importance = observed(toy)
    norm = toy.model.inner_bn
    gain = norm.weight * norm.weight.grad + norm.bias * norm.bias.grad
    torch.testing.assert_close(toy(importance, 'inner'), gain.abs().detach())
    torch.testing.assert_close(toy(importance, 'left'), gain_of(toy.model.left).abs())


@pytest.mark.parametrize('normalize', NORMALIZERS)
@pytest.mark.parametrize(
    ('frozen', 'training'),
    [(('inner', 'inner_bn'), False), (('inner', 'inner_bn'), True), (('inner_bn',), True)],
)
def test_taylor_gives_channels_without_gradient_the_mean_score(toy, normalize, frozen, training):
    """In the last case a norm over the batch makes the product with the weights 0."""
    freeze(*(getattr(toy.model, name) for name in frozen))
    toy.model.inner_bn.train(training)
    importance = observed(toy, normalize=normalize)
    score = toy(importance, 'inner')
    others = torch.cat([toy(importance, layer) for layer in ('stem', 'left', 'right')])
    torch.testing.assert_close(score, others.mean().expand(6))
    assert others.min() < score[0] < others.max()


def side_by_side(first, second):
    """One group of the channels of two."""

    def moved(pieces):
        return tuple(replace(piece, channels=piece.channels + first.size) for piece in pieces)

    return ChannelGroup(
        name=first.name,
        size=first.size + second.size,
        own=first.own + moved(second.own),
        consumers=first.consumers + moved(second.consumers),
        layers=first.layers + second.layers,
        norms=first.norms + second.norms,
    )


class HalfNormed(nn.Module):
    """Channels 0 and 1 have a norm layer, 2 and 3 have none."""

    def __init__(self):
        super().__init__()
        self.normed, self.norm = nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.bare = nn.Conv2d(3, 2, 1)
        self.shortcut = nn.Conv2d(3, 4, 1, bias=False).requires_grad_(False)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        joint = torch.cat([self.norm(self.normed(x)), self.bare(x)], dim=1)
        return self.head((joint + self.shortcut(x)).relu())


@pytest.mark.parametrize('bare_frozen', [False, True])
def test_taylor_uses_weights_of_channels_without_norm(bare_frozen):
    torch.manual_seed(0)
    model = HalfNormed()
    group = side_by_side(*find_channel_groups(model, example_image(SIZE)).groups)
    groups = [group]
    assert group.size == 4 and group.norms == ('norm',)
    model.bare.requires_grad_(not bare_frozen)
    model(torch.rand(2, 3, 6, 6)).square().sum().backward()
    importance = TaylorImportance()
    importance.observe(groups, model)
    normed = (model.norm.weight * model.norm.weight.grad).detach()
    normed = (normed + model.norm.bias * model.norm.bias.grad).detach().abs()
    bare = normed.mean().expand(2) if bare_frozen else gain_of(model.bare).abs()
    score = importance.channel_scores(group, dict(model.named_parameters()))
    torch.testing.assert_close(score, torch.cat([normed, bare]))


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.filterwarnings("ignore:You'd better set embed_dims:UserWarning")
def test_a_head_gains_what_weights_times_gradients_of_its_projection_sum_to(name):
    model, output = build(name)
    (group,) = groups_of(model)
    output(model).square().sum().backward()
    importance = TaylorImportance()
    importance.observe([group], model)
    (score,) = importance.scores([group], model)
    expected = torch.zeros(HEADS)
    for piece in group.own:
        if piece.name.rpartition('.')[0] in group.layers:
            parameter = model.get_parameter(piece.name)
            rows = (parameter * parameter.grad).detach().movedim(piece.dim, 0)
            expected.index_add_(0, piece.channels, rows.reshape(len(rows), -1).sum(1).float())
    torch.testing.assert_close(score, expected.abs(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('squared', [False, True])
def test_a_block_is_scored_by_the_joint_removal_of_the_ends_of_its_branches(squared):
    """Sums of weight times gradient are those of a factor on the whole branch."""
    model = randomize(ResidualNet())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    block = ResidualBlock('body.1', ('body.1.bn2.weight', 'body.1.bn2.bias'))
    importance = TaylorImportance(squared=squared)
    expected = []
    for seed in (1, 2):
        factor = torch.ones((), requires_grad=True)
        hook = model.body[1].bn2.register_forward_hook(lambda m, i, out, f=factor: out * f)
        backward(model, seed)
        hook.remove()
        importance.observe_blocks([block], model)
        expected.append(float(factor.grad.square() if squared else factor.grad.abs()))
    scores = importance.scores(groups, model)
    again = TaylorImportance(squared=squared)
    again.load_state_dict(importance.state_dict())
    for each in (importance, again):
        (score,) = each.block_scores([block], groups, scores)
        assert score == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_a_block_without_gradients_or_with_normalised_channels_is_worth_its_channels():
    model = randomize(ResidualNet())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    block = ResidualBlock('body.1', ('body.1.bn2.weight', 'body.1.bn2.bias'))
    model.body[1].bn2.requires_grad_(False)
    backward(model, 1)
    for importance in (TaylorImportance(), TaylorImportance(normalize='mean')):
        importance.observe(groups, model)
        importance.observe_blocks([block], model)
        scores = importance.scores(groups, model)
        (inside,) = (s for g, s in zip(groups, scores, strict=True) if g.name == 'body.1.conv1')
        assert importance.block_scores([block], groups, scores) == [pytest.approx(inside.sum())]
