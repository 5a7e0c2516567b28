import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from adasap_det import load_pruned, structure_metadata
from adasap_det.checkpoint.removed_blocks import removed_blocks, replace_blocks
from adasap_det.checkpoint.structure import META_KEY, describe, shrink
from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.surgery import prune_selected

from ..helpers.toy import ResidualNet, randomize

SIZE = (6, 6)
GONE = torch.arange(0)


@pytest.fixture
def pruned():
    """Without the second of three blocks, and with half of the channels elsewhere."""
    model = randomize(ResidualNet()).eval()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    prune_selected(
        model, groups, {'body.1': GONE, **{g.name: torch.arange(g.size // 2) for g in groups}}
    )
    return model


@pytest.fixture
def only_blocks():
    """All channels are left."""
    model = randomize(ResidualNet()).eval()
    prune_selected(model, find_channel_groups(model, example_image(SIZE)).groups, {'body.1': GONE})
    return model


def assert_same(model, pruned):
    image = torch.rand(2, 3, *SIZE)
    assert torch.equal(model.eval()(image), pruned(image))
    assert describe(model) == describe(pruned)
    assert removed_blocks(model) == ['body.1']


def test_a_removed_block_returns_its_first_argument_and_keeps_the_names_of_others():
    model = nn.Sequential(nn.Linear(2, 2), nn.TransformerEncoderLayer(2, 1, 3), nn.Linear(2, 2))
    model.eval()
    replace_blocks(model, ['1'])
    assert list(model.state_dict()) == ['0.weight', '0.bias', '2.weight', '2.bias']
    inputs = torch.rand(3, 2)
    assert model[1](inputs, torch.ones(3, 3), is_causal=True) is inputs
    assert not model[1].training


@pytest.mark.parametrize('fixture', ['pruned', 'only_blocks'])
@pytest.mark.parametrize('strict', [True, False])
def test_load_pruned_removes_the_blocks(fixture, strict, request, tmp_path):
    model = request.getfixturevalue(fixture)
    torch.save(model.state_dict(), tmp_path / 'pruned.pth')
    for source in (
        tmp_path / 'pruned.pth',
        AveragedModel(model).state_dict(),
        {'state_dict': dict(model.state_dict()), 'meta': {META_KEY: describe(model)}},
    ):
        assert_same(load_pruned(ResidualNet(), source, strict=strict), model)
    assert_same(load_pruned(copy.deepcopy(model), model.state_dict(), strict=strict), model)


def test_state_dicts_load_into_models_of_mmengine(pruned):
    dense = ResidualNet()
    dense.load_state_dict(pruned.state_dict())
    assert_same(dense, pruned)
    averaged = AveragedModel(ResidualNet())
    averaged.load_state_dict(AveragedModel(pruned).state_dict())
    assert_same(averaged.module, pruned)


def test_safetensors_files_name_the_blocks(pruned, tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    path = tmp_path / 'pruned.safetensors'
    safetensors.save_file(pruned.state_dict(), path, metadata=structure_metadata(pruned))
    assert_same(load_pruned(ResidualNet(), path), pruned)


def test_nothing_is_recorded_of_what_was_inside(pruned):
    structure = describe(pruned)
    assert structure['removed_blocks'] == ['body.1']
    for part in structure.values():
        if isinstance(part, dict):
            assert not any(name.startswith('body.1.') for name in part)


@pytest.mark.parametrize('strict', [True, False])
def test_a_model_that_lacks_the_block_or_more_is_an_error(pruned, strict):
    fewer = ResidualNet()
    del fewer.body[1:]
    before = {name: t.shape for name, t in fewer.state_dict().items()}
    with pytest.raises(ValueError, match=r'block body\.1 was removed there'):
        load_pruned(fewer, pruned.state_dict(), strict=strict)
    assert {name: t.shape for name, t in fewer.state_dict().items()} == before
    other = ResidualNet()
    replace_blocks(other, ['body.2'])
    with pytest.raises(ValueError, match=r'has the unknown body\.2\.bn1'):
        load_pruned(other, pruned.state_dict(), strict=strict)
    assert removed_blocks(other) == ['body.2']


def test_structures_from_before_name_no_blocks(pruned):
    model = randomize(ResidualNet())
    prune_selected(
        model,
        find_channel_groups(model, example_image(SIZE)).groups,
        {'stem': torch.arange(4)},
    )
    structure = describe(model)
    del structure['removed_blocks']
    dense = ResidualNet()
    assert shrink(dense, structure)
    assert describe(dense) == describe(model)
