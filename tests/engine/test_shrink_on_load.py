import copy
import io

import pytest
import torch
from mmengine.runner.checkpoint import _load_checkpoint_to_model

from adasap_det.engine.shrink_on_load import mark_pruned
from adasap_det.pruning import cut_channels, find_channel_groups
from tests.hooks.runs import TinyNet


@pytest.fixture
def pruned():
    model = TinyNet().eval()
    groups = find_channel_groups(model, input_size=(6, 6)).groups
    cut_channels(model, groups, {g.name: torch.arange(3, g.size - 2) for g in groups})
    return model


def saved(model, mark=True):
    state = model.state_dict()
    if mark:
        mark_pruned(state)
    buffer = io.BytesIO()
    torch.save({'state_dict': state}, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_dense_model_takes_the_structure(pruned):
    picture = torch.rand(2, 3, 6, 6)
    for load in (
        lambda model, checkpoint: model.load_state_dict(checkpoint['state_dict']),
        lambda model, checkpoint: _load_checkpoint_to_model(model, checkpoint, strict=True),
    ):
        dense = TinyNet().eval()
        parameters = dict(dense.named_parameters())
        load(dense, saved(pruned))
        assert dense.inner.out_channels == dense.inner_bn.num_features == 11
        assert torch.equal(dense(picture), pruned(picture))
        for name, parameter in dense.named_parameters():
            assert parameter is parameters[name]


def test_without_the_mark_a_misfit_is_an_error_as_ever(pruned):
    with pytest.raises(RuntimeError, match='size mismatch'):
        TinyNet().load_state_dict(saved(pruned, mark=False)['state_dict'])


def test_a_misfit_names_the_layer_and_the_reason(pruned):
    checkpoint = saved(pruned)
    with pytest.raises(ValueError, match=r'stem\.weight has shape \(11, 3, 3, 3\).*\(8, 3, 3, 3\)'):
        TinyNet(width=8).load_state_dict(checkpoint['state_dict'])
    other = copy.deepcopy(checkpoint['state_dict'])
    del other['inner.weight']
    with pytest.raises(ValueError, match=r'lacks inner\.weight'):
        TinyNet().load_state_dict(other)
