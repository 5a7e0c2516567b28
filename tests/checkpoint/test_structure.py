import copy
import gc
import io
import json
import weakref

import pytest
import torch
from torch import nn

from adasap_det.checkpoint.structure import (
    META_KEY,
    check_shapes,
    marks_in,
    pruned_dims,
    saved_tensors,
)
from adasap_det.pruning import describe, find_channel_groups, prune_channels, shrink
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.toy import (
    FlattenNet,
    GroupedNet,
    GroupNormNet,
    SharedHeadNet,
    ToyDetector,
    randomize,
)

SIZE = (6, 6)
NETS = [ToyDetector, GroupNormNet, GroupedNet, SharedHeadNet, FlattenNet]


def pruned(net):
    model = randomize(net())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    half = {
        g.name: torch.arange(g.size // g.parts // 2).repeat(g.parts)
        + torch.arange(g.parts).repeat_interleave(g.size // g.parts // 2) * (g.size // g.parts)
        for g in groups
    }
    prune_channels(model, groups, half)
    return model.eval()


@pytest.mark.parametrize('net', NETS)
def test_dense_model_is_pruned_from_plain_data(net):
    model = pruned(net)
    structure = json.loads(json.dumps(describe(model)))
    groups = find_channel_groups(net(), example_image(SIZE)).groups
    assert structure['dense_channels'] == {g.name: g.size for g in groups}
    for group in groups:
        part = group.size // group.parts
        expected = [i for i in range(group.size) if i % part < part // 2]
        assert structure['kept'][group.name] == expected
    dense = net().eval()
    parameters = dict(dense.named_parameters())
    assert shrink(dense, structure)
    dense.load_state_dict(model.state_dict(), strict=True)
    image = torch.rand(2, 3, *SIZE)
    first, second = dense(image), model(image)
    for a, b in zip(
        first if isinstance(first, list) else [first],
        second if isinstance(second, list) else [second],
        strict=True,
    ):
        assert torch.equal(a, b)
    for name, parameter in dense.named_parameters():
        assert parameter is parameters[name]


def shapes_of(model):
    return {name: tuple(t.shape) for name, t in saved_tensors(model).items()}


def test_structure_records_pruned_dimensions():
    assert pruned_dims(SharedHeadNet()) == {}
    expected = {
        'first.weight': [0], 'first.bias': [0], 'scale.weight': [0], 'down.weight': [0, 1],
        'down.bias': [0], 'tower.weight': [0, 1], 'tower.bias': [0], 'out.weight': [1],
    }  # fmt: skip
    small_net = pruned(SharedHeadNet)
    dense = SharedHeadNet()
    shrink(dense, describe(small_net))
    for model in (small_net, dense, copy.deepcopy(small_net)):
        assert pruned_dims(model) == expected
        assert describe(model)['pruned_dims'] == expected


@pytest.mark.parametrize('outputs', [9, 2])
def test_different_number_of_outputs_is_kept(outputs):
    structure = describe(pruned(ToyDetector))
    model = ToyDetector()
    model.out = nn.Conv2d(10, outputs, 1)
    assert shrink(model, structure)
    assert model.out.weight.shape == (outputs, 5, 1, 1)  # of 5 there; half of 10 are read
    assert model.out.bias.shape == (outputs,)
    assert (model.out.in_channels, model.out.out_channels) == (5, outputs)
    with pytest.raises(ValueError, match=r'out\.weight has shape \(5, 5, 1, 1\)'):
        check_shapes(model, structure['shapes'])


@pytest.mark.parametrize('outputs', [9, 2])
def test_dense_checkpoint_does_not_change_dense_model(outputs):
    model = ToyDetector()
    model.out = nn.Conv2d(10, outputs, 1)
    before = shapes_of(model)
    assert not shrink(model, describe(ToyDetector()))
    assert shapes_of(model) == before


def test_channels_read_only_by_transposed_convolution_are_pruned():
    def net(width):
        return nn.Sequential(nn.Conv2d(3, width, 1), nn.ConvTranspose2d(width, 2, 2))

    small = net(6)
    (group,) = find_channel_groups(small, example_image(SIZE)).groups
    prune_channels(small, [group], {group.name: torch.arange(4)})
    model = net(6)
    assert shrink(model, describe(small))
    assert shapes_of(model) == shapes_of(net(4))


@pytest.mark.parametrize('net', NETS)
def test_module_attributes_match_channels(net):
    """Each attribute equals that of a new module of this size."""
    for module in pruned(net).modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[0] == module.out_channels
            assert module.weight.shape[1] * module.groups == module.in_channels
            assert module.out_channels % module.groups == 0
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean.numel() == module.weight.numel() == module.num_features
        elif isinstance(module, nn.GroupNorm):
            assert module.weight.numel() == module.num_channels
            assert module.num_channels % module.num_groups == 0
        elif isinstance(module, nn.LayerNorm):
            assert module.normalized_shape == tuple(module.weight.shape)
        elif hasattr(module, 'n_dims'):
            assert module.n_dims == module.weight.numel()


def test_depthwise_stays_depthwise():
    assert pruned(ToyDetector).depth.groups == 4


def test_batch_norm_without_scale_is_pruned_by_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 2, 1))
    groups = find_channel_groups(model, example_image(SIZE)).groups
    prune_channels(model, groups, {groups[0].name: torch.tensor([0, 3])})
    assert model[1].num_features == 2


def test_equal_structures_return_no_changes():
    model = ToyDetector()
    assert not shrink(model, describe(model))
    small = pruned(ToyDetector)
    assert not shrink(small, describe(small))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'inner.weight': (9, 8, 3, 3)}, r'inner\.weight has shape \(9, 8, 3, 3\).*\(6, 8, 3, 3\)'),
        ({'inner.weight': (6, 8)}, r'inner\.weight has shape \(6, 8\)'),
        ({'inner.weight': (0, 8, 3, 3)}, r'inner\.weight'),
        ({'inner.weight': None}, r'lacks inner\.weight'),
        ({'other.weight': (1,)}, r'has the unknown other\.weight'),
    ],
)
def test_mismatch_names_the_tensor_and_changes_nothing(change, message):
    model = ToyDetector()
    structure = describe(pruned(ToyDetector))
    shapes = structure['shapes'] | change
    structure['shapes'] = {name: shape for name, shape in shapes.items() if shape is not None}
    with pytest.raises(ValueError, match=message):
        shrink(model, structure)
    assert model.inner.weight.shape == (6, 8, 3, 3)
    assert model.stem.weight.shape == (8, 3, 3, 3)


def mark_of(model):
    return {key: value for key, value in describe(model).items() if key != 'shapes'}


def through_a_file(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_state_dict_of_a_pruned_model_is_marked():
    model = pruned(GroupedNet)
    state = through_a_file(model.state_dict())
    assert marks_in(state) == marks_in(model.state_dict()) == {'': mark_of(model)}
    assert state._metadata['']['version'] == 1
    shrunk = GroupedNet()
    shrink(shrunk, describe(model))
    assert marks_in(shrunk.state_dict()) == {'': mark_of(model)}


def test_state_dict_of_a_dense_model_is_not_marked():
    model = GroupedNet()
    assert find_channel_groups(model, example_image(SIZE)).groups
    shrink(model, describe(GroupedNet()))
    assert marks_in(model.state_dict()) == {}


def test_the_mark_lies_at_the_pruned_module():
    model = pruned(GroupedNet)
    averaged = torch.optim.swa_utils.AveragedModel(nn.Sequential(model))
    assert marks_in(averaged.state_dict()) == {'module.0': mark_of(model)}


def test_the_mark_is_not_changed_by_later_prune_steps():
    model = pruned(GroupedNet)
    state = model.state_dict()
    before = json.dumps(marks_in(state))
    groups = find_channel_groups(model, example_image(SIZE)).groups
    prune_channels(model, groups, {groups[0].name: torch.tensor([0, 3])})
    assert json.dumps(marks_in(state)) == before


def test_a_copy_is_marked_with_its_own_structure_and_lets_the_original_go():
    model = pruned(GroupedNet)
    copied = copy.deepcopy(model)
    first = mark_of(model)
    groups = find_channel_groups(copied, example_image(SIZE)).groups
    prune_channels(copied, groups, {groups[0].name: torch.tensor([0, 3])})
    assert marks_in(model.state_dict()) == {'': first}
    assert marks_in(copied.state_dict()) == {'': mark_of(copied)} != {'': first}
    original = weakref.ref(model)
    del model
    gc.collect()
    assert original() is None


def test_an_unpickled_model_is_marked_also_with_other_hooks():
    model = pruned(GroupedNet)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    again._register_state_dict_hook(lambda *args: None)
    assert marks_in(again.state_dict()) == {'': mark_of(model)}
    assert list(again._state_dict_hooks).count(META_KEY) == 1
