import copy
import io

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn

from adasap_det.checkpoint.structure import META_KEY
from adasap_det.pruning import find_channel_groups, prune_channels
from adasap_det.pruning.graph.tracing import example_image
from tests.helpers.training_runs import TinyNet


@pytest.fixture
def pruned():
    model = TinyNet().eval()
    groups = find_channel_groups(model, example_image((6, 6))).groups
    prune_channels(model, groups, {g.name: torch.arange(3, g.size - 2) for g in groups})
    return model


def saved(model, *, mark=True):
    state = model.state_dict()
    if not mark:
        state = dict(state)
    buffer = io.BytesIO()
    torch.save({'state_dict': state}, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_dense_model_takes_over_the_structure(pruned):
    image = torch.rand(2, 3, 6, 6)
    for load in (
        lambda model, checkpoint: model.load_state_dict(checkpoint['state_dict']),
        lambda model, checkpoint: _load_checkpoint_to_model(model, checkpoint, strict=True),
    ):
        dense = TinyNet().eval()
        parameters = dict(dense.named_parameters())
        load(dense, saved(pruned))
        assert dense.inner.out_channels == dense.inner_bn.num_features == 11
        assert torch.equal(dense(image), pruned(image))
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


@pytest.mark.parametrize('classes', [5, 1])
def test_other_outputs_are_a_misfit_as_ever(pruned, classes):
    """The rest of the network is loaded, pruned or dense."""
    for source, width in ((pruned, 11), (TinyNet(), 16)):
        model = TinyNet()
        model.out = nn.Linear(16, classes)
        with pytest.raises(RuntimeError, match=r'size mismatch for out\.weight'):
            model.load_state_dict(saved(source)['state_dict'])
        assert model.out.weight.shape == (classes, width)
        assert model.out.bias.shape == (classes,)
        assert torch.equal(model.inner.weight, source.inner.weight)


def test_another_format_is_an_error_that_says_what_to_do(pruned):
    state = saved(pruned)['state_dict']
    state._metadata[''][META_KEY]['format'] = 1
    with pytest.raises(ValueError, match=r'format 1 .* reads format 2; write it again'):
        TinyNet().load_state_dict(state)


def test_state_of_a_wrapped_model_loads_with_mmengine(pruned, tmp_path):
    """MMEngine removes ``module.`` from the names and leaves it in the metadata."""
    torch.save(nn.DataParallel(pruned).state_dict(), tmp_path / 'wrapped.pth')
    dense = TinyNet().eval()
    load_checkpoint(dense, str(tmp_path / 'wrapped.pth'), strict=False)
    image = torch.rand(2, 3, 6, 6)
    assert torch.equal(dense(image), pruned(image))


@pytest.mark.parametrize(
    'load',
    [
        lambda model, path: load_checkpoint(model, path, strict=False),
        lambda model, path: model.load_state_dict(torch.load(path), strict=False),
    ],
    ids=['load_checkpoint', 'load_state_dict'],
)
def test_a_marked_misfit_is_an_error_also_if_not_strict(pruned, load, tmp_path):
    path = str(tmp_path / 'pruned.pth')
    torch.save(pruned.state_dict(), path)
    with pytest.raises(ValueError, match=r'stem\.weight has shape \(11, 3, 3, 3\).*\(8, 3, 3, 3\)'):
        load(TinyNet(width=8), path)
    state = pruned.state_dict()
    del state['inner.weight']
    torch.save(state, path)
    with pytest.raises(ValueError, match=r'lacks inner\.weight'):
        load(TinyNet(), path)
    averaged = torch.optim.swa_utils.AveragedModel(pruned)
    torch.save(averaged.state_dict(), path)
    with pytest.raises(ValueError, match=r'has the unknown (module|n_averaged)'):
        load(TinyNet(), path)


def test_averaged_model_takes_over_the_structure(pruned):
    averaged = torch.optim.swa_utils.AveragedModel(TinyNet()).eval()
    averaged.load_state_dict(torch.optim.swa_utils.AveragedModel(pruned).state_dict())
    image = torch.rand(2, 3, 6, 6)
    assert torch.equal(averaged(image), pruned(image))
