import copy

import pytest
import torch
import torch_pruning as tp
from torch import nn

from adasap_det.pruning import (
    count_params,
    find_channel_groups,
    prune_channels,
)
from adasap_det.pruning.graph.tracing import example_image, trace_forward

from ..helpers.toy import (
    FlattenNet,
    GroupedNet,
    GroupNormNet,
    SharedHeadNet,
    ToyDetector,
    randomize,
    toy_batch,
)

SIZE = (6, 6)
NETS = [ToyDetector, GroupNormNet, GroupedNet, SharedHeadNet, FlattenNet]


def some_channels(groups, seed=0, ratio=0.6):
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in groups:
        stays = torch.rand(group.size // group.parts, generator=generator) < ratio
        stays[0] = True
        kept[group.name] = stays.repeat(group.parts).nonzero().flatten()
    return kept


def pruned_by_torch_pruning(model, groups, kept, size):
    """The same channels pruned by Torch-Pruning on a copy."""
    theirs = copy.deepcopy(model).eval()
    for parameter in theirs.parameters():
        parameter.requires_grad_(True)
    graph = tp.DependencyGraph().build_dependency(
        theirs, example_image(size), forward_fn=trace_forward, verbose=False
    )
    modules = dict(theirs.named_modules())
    for group in groups:
        gone = sorted(set(range(group.size)) - set(kept[group.name].tolist()))
        if gone:
            root = modules[group.name]
            pruner = graph.get_pruner_of_module(root)
            graph.get_pruning_group(root, pruner.prune_out_channels, gone).prune()
    return theirs


def assert_same_tensors(ours, theirs):
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize('net', NETS)
@pytest.mark.parametrize('seed', range(2))
def test_matches_torch_pruning(net, seed):
    model = randomize(net())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    kept = some_channels(groups, seed)
    theirs = pruned_by_torch_pruning(model, groups, kept, SIZE)
    prune_channels(model, groups, kept)
    assert_same_tensors(model.state_dict(), theirs.state_dict())
    image = torch.rand(2, 3, *SIZE)
    for a, b in zip(_flat(model.eval()(image)), _flat(theirs(image)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('net', [ToyDetector, GroupedNet])
@pytest.mark.parametrize('seed', range(3))
def test_matches_dense_model_with_masked_channels(net, seed):
    """Nothing here mixes channels but the layers that read them, found by name and by hand."""
    model = randomize(net(), seed).double().eval()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    kept = some_channels(groups, seed)
    readers = {
        'stem': [('inner', 0), ('left', 0), ('right', 0)],
        'inner': [('back', 0)],
        'left': [('out', 0)],
        'right': [('out', 6)],
        'first': [('grouped', 0)],
        'grouped': [('out', 0)],
    }
    dense = copy.deepcopy(model)
    modules = dict(dense.named_modules())
    for group in groups:
        layer = next(name for name in group.layers if name in readers)
        for channel in set(range(group.size)) - set(kept[group.name].tolist()):
            for reader, first in readers[layer]:
                weight = modules[reader].weight.data
                if modules[reader].groups == 2:
                    weight[channel // 4 * 6 :][:6, channel % 4] = 0  # 12 filters, 2 x 4 inputs
                else:
                    weight[:, first + channel] = 0
    prune_channels(model, groups, kept)
    assert count_params(model) < 0.8 * count_params(dense)
    image = torch.rand(2, 3, *SIZE, dtype=torch.double)
    torch.testing.assert_close(model(image), dense(image))


def test_updated_groups_match_new_analysis():
    model = ToyDetector()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    after = prune_channels(model, groups, some_channels(groups))
    fresh = find_channel_groups(model, example_image(SIZE)).groups
    assert [_plain(group) for group in after] == [_plain(group) for group in fresh]


@pytest.mark.parametrize(
    ('optimizer', 'options', 'keys'),
    [
        (torch.optim.SGD, {'momentum': 0.9}, ['momentum_buffer']),
        (torch.optim.AdamW, {}, ['exp_avg', 'exp_avg_sq']),
    ],
)
def test_optimizer_state_is_pruned_with_parameters(optimizer, options, keys):
    model = randomize(ToyDetector(dropout=0.0))
    opt = optimizer(model.parameters(), lr=0.01, **options)

    def step():
        opt.zero_grad()
        sum(model(**toy_batch(0), mode='loss').values()).backward()
        opt.step()

    step()
    parameters = dict(model.named_parameters())
    old = {n: {k: opt.state[p][k].clone() for k in keys} for n, p in parameters.items()}
    groups = find_channel_groups(model, example_image(SIZE)).groups
    inner = next(g for g in groups if 'inner' in g.layers)
    stem = next(g for g in groups if 'stem' in g.layers)
    kept = {inner.name: torch.tensor([1, 4]), stem.name: torch.tensor([0, 2, 7])}
    prune_channels(model, groups, kept, optimizers=[opt])

    for name, parameter in model.named_parameters():
        assert parameter is parameters[name]
        assert parameter.grad is None or parameter.grad.shape == parameter.shape
    assert model.inner.weight.grad is None
    for key in keys:
        state = opt.state[model.inner.weight][key]
        assert torch.equal(state, old['inner.weight'][key][[1, 4]][:, [0, 2, 7]])
        assert torch.equal(opt.state[model.out.weight][key], old['out.weight'][key])
    before = model.inner.weight.detach().clone()
    step()
    assert not torch.equal(model.inner.weight, before)
    assert model.inner.weight.grad.shape == (2, 3, 3, 3)


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_training_goes_on_while_losses_from_before_are_alive(dtype):
    """Alive they keep the nodes that accumulate the gradients in the parameters' old shapes."""
    model = randomize(ToyDetector(dropout=0.0)).to(dtype)
    hooked = []
    model.inner.weight.register_hook(lambda gradient: hooked.append(gradient.shape))

    def loss_of(model):
        batch = toy_batch(0)
        return sum(model(batch['inputs'].to(dtype), batch['targets'], mode='loss').values())

    alive = [loss_of(model), loss_of(model)]
    alive[0].backward()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    prune_channels(model, groups, some_channels(groups))
    model.zero_grad()
    reference = copy.deepcopy(model)
    hooked.clear()
    loss_of(model).backward()
    loss_of(reference).backward()
    assert hooked == [model.inner.weight.shape]  # a hook of the user stays
    for parameter, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert parameter.dtype == dtype
        assert torch.equal(parameter.grad, expected.grad)
    with pytest.raises(RuntimeError):
        alive[1].backward()  # of channels that are gone


def test_averaged_copy_is_pruned_alike_and_frozen_stays_frozen():
    model = randomize(ToyDetector(), seed=1)
    model.stem.weight.requires_grad_(False)
    average = randomize(ToyDetector(), seed=2)
    whole = average.inner.weight.detach().clone()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    inner = next(g for g in groups if 'inner' in g.layers)
    prune_channels(model, groups, {inner.name: torch.tensor([0, 5])}, copies=[average])
    assert torch.equal(average.inner.weight, whole[[0, 5]])
    assert average.inner_bn.num_features == average.inner.out_channels == 2
    assert not model.stem.weight.requires_grad
    assert model.inner.weight.requires_grad


@pytest.mark.skipif(not hasattr(torch.optim, 'Adafactor'), reason='PyTorch before 2.5')
def test_optimizer_state_of_another_shape_is_an_error_before_pruning():
    model = ToyDetector()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    factored = torch.optim.Adafactor([model.inner.weight])
    sum(model(**toy_batch(0), mode='loss').values()).backward()
    sgd.step()
    factored.step()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    before = {k: v.shape for k, v in model.state_dict().items()}
    momenta = [state['momentum_buffer'].shape for state in sgd.state.values()]
    message = r"Adafactor keeps '\w+' of inner\.weight in shape \(6, 8, 3, 1\)"
    with pytest.raises(ValueError, match=message):
        prune_channels(model, groups, some_channels(groups), optimizers=[sgd, factored])
    assert {k: v.shape for k, v in model.state_dict().items()} == before
    assert [state['momentum_buffer'].shape for state in sgd.state.values()] == momenta
    assert model.inner.weight.grad is not None


def test_channel_norm_state_is_pruned():
    """Running statistics are buffers, and the counter is unchanged."""
    model = ToyDetector()
    model(**toy_batch(0), mode='loss')
    mean = model.joint_bn.running_mean.clone()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    left = next(g for g in groups if 'left' in g.layers)
    prune_channels(model, groups, {left.name: torch.tensor([1, 3])})
    assert torch.equal(model.joint_bn.running_mean, mean[[1, 3, 6, 7, 8, 9]])
    assert model.joint_bn.num_batches_tracked == 1


@pytest.mark.parametrize(
    ('layer', 'attributes'),
    [
        (lambda: nn.ConvTranspose2d(8, 8, 2, 2), {'in_channels': 5, 'out_channels': 8}),
        (lambda: nn.ConvTranspose2d(8, 8, 2, 2, groups=8), {'in_channels': 5, 'groups': 5}),
        (lambda: nn.PReLU(8), {'num_parameters': 5}),
        (lambda: nn.InstanceNorm2d(8, affine=True), {'num_features': 5}),
        (lambda: nn.InstanceNorm2d(8, track_running_stats=True), {'num_features': 5}),
    ],
)
def test_rarer_layers(layer, attributes):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), layer(), nn.Conv2d(8, 2, 1)).eval()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    group = next(g for g in groups if '0' in g.layers)
    prune_channels(model, groups, {group.name: torch.tensor([0, 2, 3, 5, 7])})
    assert {name: getattr(model[1], name) for name in attributes} == attributes
    model(torch.rand(2, 3, *SIZE))


def test_unselected_group_is_not_pruned():
    model = ToyDetector()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    before = copy.deepcopy(model.state_dict())
    after = prune_channels(model, groups, {})
    assert_same_tensors(model.state_dict(), before)
    assert [_plain(group) for group in after] == [_plain(group) for group in groups]


def test_empty_layer_is_an_error():
    model = ToyDetector()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    with pytest.raises(ValueError, match='without channels'):
        prune_channels(model, groups, {groups[0].name: torch.tensor([], dtype=torch.long)})


def _flat(output):
    return output if isinstance(output, (list, tuple)) else [output]


def _plain(group):
    pieces = {
        (p.name, p.dim): sorted(zip(p.positions.tolist(), p.channels.tolist(), strict=True))
        for p in group.slices
    }
    return group.name, group.size, group.layers, group.norms, group.parts, pieces
