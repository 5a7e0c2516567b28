import copy

import pytest
import torch
import torch_pruning as tp
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det.pruning import cut_channels, find_channel_groups
from adasap_det.pruning.tracing import example_input, trace_forward

from ..toy import (
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


def some_channels(groups, seed=0, share=0.6):
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in groups:
        stays = torch.rand(group.size // group.parts, generator=generator) < share
        stays[0] = True
        kept[group.name] = stays.repeat(group.parts).nonzero().flatten()
    return kept


def pruned_by_torch_pruning(model, groups, kept, size):
    """The same cut, made by Torch-Pruning itself on a copy."""
    theirs = copy.deepcopy(model).eval()
    for parameter in theirs.parameters():
        parameter.requires_grad_(True)
    graph = tp.DependencyGraph().build_dependency(
        theirs, example_input(theirs, size), forward_fn=trace_forward, verbose=False
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
def test_equal_to_torch_prunings_own_cut(net, seed):
    model = randomize(net())
    groups = find_channel_groups(model, input_size=SIZE).groups
    kept = some_channels(groups, seed)
    theirs = pruned_by_torch_pruning(model, groups, kept, SIZE)
    cut_channels(model, groups, kept)
    assert_same_tensors(model.state_dict(), theirs.state_dict())
    picture = torch.rand(2, 3, *SIZE)
    for a, b in zip(_flat(model.eval()(picture)), _flat(theirs(picture)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'size'),
    [
        ('ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py', (160, 160)),
        ('pascal_voc/ssd300_voc0712.py', (300, 300)),
        ('pascal_voc/retinanet_r50_fpn_1x_voc0712.py', (128, 128)),
        ('pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py', (128, 128)),
    ],
)
def test_equal_to_torch_prunings_own_cut_on_detectors(tmp_path, config, size):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = 'mmdet::{config}'")
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    init_default_scope('mmdet')
    model = randomize(MODELS.build(cfg.model))  # mmdet leaves the scale of L2Norm unset
    groups = find_channel_groups(model, input_size=size).groups
    kept = some_channels(groups)
    theirs = pruned_by_torch_pruning(model, groups, kept, size)
    cut_channels(model, groups, kept)
    assert_same_tensors(model.state_dict(), theirs.state_dict())
    trace_forward(model.eval(), example_input(model, size))


def test_groups_afterwards_are_those_of_a_fresh_analysis():
    model = ToyDetector()
    groups = find_channel_groups(model, input_size=SIZE).groups
    after = cut_channels(model, groups, some_channels(groups))
    fresh = find_channel_groups(model, input_size=SIZE).groups
    assert [_plain(group) for group in after] == [_plain(group) for group in fresh]


@pytest.mark.parametrize(
    ('optimizer', 'options', 'keys'),
    [
        (torch.optim.SGD, {'momentum': 0.9}, ['momentum_buffer']),
        (torch.optim.AdamW, {}, ['exp_avg', 'exp_avg_sq']),
    ],
)
def test_the_optimizer_goes_on_with_the_right_entries(optimizer, options, keys):
    model = randomize(ToyDetector(dropout=0.0))
    opt = optimizer(model.parameters(), lr=0.01, **options)

    def step():
        opt.zero_grad()
        sum(model(**toy_batch(0), mode='loss').values()).backward()
        opt.step()

    step()
    parameters = dict(model.named_parameters())
    old = {n: {k: opt.state[p][k].clone() for k in keys} for n, p in parameters.items()}
    groups = find_channel_groups(model, input_size=SIZE).groups
    inner = next(g for g in groups if 'inner' in g.layers)
    stem = next(g for g in groups if 'stem' in g.layers)
    kept = {inner.name: torch.tensor([1, 4]), stem.name: torch.tensor([0, 2, 7])}
    cut_channels(model, groups, kept, optimizers=[opt])

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


def test_an_averaged_copy_is_cut_alike_and_frozen_stays_frozen():
    model = randomize(ToyDetector(), seed=1)
    model.stem.weight.requires_grad_(False)
    average = randomize(ToyDetector(), seed=2)
    whole = average.inner.weight.detach().clone()
    groups = find_channel_groups(model, input_size=SIZE).groups
    inner = next(g for g in groups if 'inner' in g.layers)
    cut_channels(model, groups, {inner.name: torch.tensor([0, 5])}, copies=[average])
    assert torch.equal(average.inner.weight, whole[[0, 5]])
    assert average.inner_bn.num_features == average.inner.out_channels == 2
    assert not model.stem.weight.requires_grad
    assert model.inner.weight.requires_grad


def test_state_of_another_shape_is_refused_before_anything_is_cut():
    model = ToyDetector()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    opt.state[model.inner.weight]['row'] = torch.zeros(6)
    groups = find_channel_groups(model, input_size=SIZE).groups
    before = {k: v.shape for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"SGD keeps 'row' of inner\.weight in shape \(6,\)"):
        cut_channels(model, groups, some_channels(groups), optimizers=[opt])
    assert {k: v.shape for k, v in model.state_dict().items()} == before


def test_an_empty_layer_is_refused():
    model = ToyDetector()
    groups = find_channel_groups(model, input_size=SIZE).groups
    with pytest.raises(ValueError, match='without channels'):
        cut_channels(model, groups, {groups[0].name: torch.tensor([], dtype=torch.long)})


def _flat(output):
    return output if isinstance(output, (list, tuple)) else [output]


def _plain(group):
    pieces = {
        (p.name, p.dim): sorted(zip(p.positions.tolist(), p.channels.tolist(), strict=True))
        for p in group.slices
    }
    return group.name, group.size, group.layers, group.norms, group.parts, pieces
