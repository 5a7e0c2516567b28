import copy
import io

import pytest
import torch
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn

from adasap_det.checkpoint.structure import META_KEY, mark_pruned, pruned_dims
from adasap_det.pruning import find_channel_groups, prune_channels
from tests.helpers.training_runs import TinyNet


@pytest.fixture
def pruned():
    model = TinyNet().eval()
    groups = find_channel_groups(model, input_size=(6, 6)).groups
    prune_channels(model, groups, {g.name: torch.arange(3, g.size - 2) for g in groups})
    return model


def saved(model, mark='with what was cut'):
    state = model.state_dict()
    if mark == 'with what was cut':
        mark_pruned(state, cut=pruned_dims(model))
    elif mark == 'alone':
        mark_pruned(state)
    elif mark == 'of an older version':
        state._metadata[''][META_KEY] = 1
    buffer = io.BytesIO()
    torch.save({'state_dict': state}, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize('mark', ['with what was cut', 'alone', 'of an older version'])
def test_dense_model_takes_the_structure(pruned, mark):
    image = torch.rand(2, 3, 6, 6)
    for load in (
        lambda model, checkpoint: model.load_state_dict(checkpoint['state_dict']),
        lambda model, checkpoint: _load_checkpoint_to_model(model, checkpoint, strict=True),
    ):
        dense = TinyNet().eval()
        parameters = dict(dense.named_parameters())
        load(dense, saved(pruned, mark))
        assert dense.inner.out_channels == dense.inner_bn.num_features == 11
        assert torch.equal(dense(image), pruned(image))
        for name, parameter in dense.named_parameters():
            assert parameter is parameters[name]


def test_without_the_mark_a_misfit_is_an_error_as_ever(pruned):
    with pytest.raises(RuntimeError, match='size mismatch'):
        TinyNet().load_state_dict(saved(pruned, mark=None)['state_dict'])


def test_a_misfit_names_the_layer_and_the_reason(pruned):
    checkpoint = saved(pruned)
    with pytest.raises(ValueError, match=r'stem\.weight has shape \(11, 3, 3, 3\).*\(8, 3, 3, 3\)'):
        TinyNet(width=8).load_state_dict(checkpoint['state_dict'])
    other = copy.deepcopy(checkpoint['state_dict'])
    del other['inner.weight']
    with pytest.raises(ValueError, match=r'lacks inner\.weight'):
        TinyNet().load_state_dict(other)


@pytest.mark.parametrize('classes', [5, 1])
def test_other_outputs_are_a_misfit_as_ever(pruned, classes):
    """The rest of a pruned network is taken; of a dense one older versions marked too."""
    for source, mark, width in (
        (pruned, 'with what was cut', 11),
        (TinyNet(), 'of an older version', 16),
    ):
        model = TinyNet()
        model.out = nn.Linear(16, classes)
        with pytest.raises(RuntimeError, match=r'size mismatch for out\.weight'):
            model.load_state_dict(saved(source, mark)['state_dict'])
        assert model.out.weight.shape == (classes, width)
        assert model.out.bias.shape == (classes,)
        assert torch.equal(model.inner.weight, source.inner.weight)
