import copy
from collections import OrderedDict

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.optim.swa_utils import AveragedModel

from adasap_det import load_pruned
from adasap_det.checkpoint.loading import build_model, load_model, save_pruned
from adasap_det.checkpoint.structure import META_KEY, describe, kept_channels
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, Pruner, count_params
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.toy import FlattenNet, GroupedNet, randomize
from ..helpers.training_runs import TinyNet

SIZE = (6, 6)


@pytest.fixture
def cfg():
    return Config(dict(model=dict(type='TinyNet'), default_scope='mmengine'))


def test_dense_and_pruned_checkpoints(cfg, tmp_path):
    trained = TinyNet()
    torch.save({'state_dict': trained.state_dict(), 'meta': {'dataset_meta': {'classes': 'ab'}}},
               tmp_path / 'dense.pth')  # fmt: skip
    model, meta = load_model(cfg, tmp_path / 'dense.pth')
    assert not model.training
    assert all(torch.equal(t, trained.state_dict()[n]) for n, t in model.state_dict().items())
    pruner = Pruner(
        model,
        example_image(SIZE),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )
    result = pruner.prune()
    save_pruned(tmp_path / 'pruned.pth', model, meta=meta)
    again, meta = load_model(cfg, tmp_path / 'pruned.pth')
    assert count_params(again) == result.cost
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in again.state_dict().items())
    assert meta['adasap_det'] == describe(model) == describe(again)
    assert again.dataset_meta == {'classes': 'ab'}
    torch.load(tmp_path / 'pruned.pth', weights_only=True)
    assert not list(tmp_path.glob('*.tmp'))


@pytest.mark.parametrize('as_file', [False, True])
def test_a_config_in_place_of_the_model(cfg, tmp_path, as_file):
    pruned = TinyNet().eval()
    pruner_of(pruned).prune()
    save_pruned(tmp_path / 'pruned.pth', pruned, meta={'dataset_meta': {'classes': 'ab'}})
    cfg.dump(tmp_path / 'tiny.py')
    model = load_pruned(tmp_path / 'tiny.py' if as_file else cfg, tmp_path / 'pruned.pth')
    assert_same(model, pruned)
    assert (model.training, model.dataset_meta) == (False, {'classes': 'ab'})
    assert model.cfg.model.type == 'TinyNet'


def test_separate_data_preprocessor_is_used():
    """As MMEngine's runner has it; mmpretrain's configs normalise there."""
    beside = dict(type='ImgDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
    cfg = Config(
        dict(model=dict(type='TinyNet'), data_preprocessor=beside, default_scope='mmengine')
    )
    model = build_model(cfg)
    assert model.data_preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]
    assert 'data_preprocessor' not in cfg.model
    inside = dict(beside, mean=[7.0, 8.0, 9.0])
    cfg.model = dict(type='TinyNet', data_preprocessor=inside)
    assert build_model(cfg).data_preprocessor.mean.flatten().tolist() == [7.0, 8.0, 9.0]


def test_checkpoint_of_another_model_is_an_error(cfg, tmp_path):
    torch.save({'state_dict': {'other.weight': torch.zeros(2)}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth lacks .* is this the config'):
        load_model(cfg, tmp_path / 'other.pth')


def test_weight_of_another_shape_is_an_error_also_without_a_mark(cfg, tmp_path):
    state = TinyNet(width=4).state_dict()
    torch.save({'state_dict': state}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'stem\.weight has shape \(4, 3, 3, 3\)'):
        load_model(cfg, tmp_path / 'other.pth')


def pruner_of(model):
    return Pruner(
        model,
        example_image(SIZE),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )


@pytest.fixture
def pruned():
    """A plain module, pruned."""
    model = randomize(GroupedNet()).eval()
    pruner_of(model).step(keep_ratio=0.7)
    return model


def assert_same(model, pruned):
    image = torch.rand(2, 3, *SIZE)
    assert torch.equal(model.eval()(image), pruned(image))
    state = pruned.state_dict()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert describe(model) == describe(pruned)


class Compiled(nn.Module):
    """Names its model as ``torch.compile`` does."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod = model


@pytest.mark.parametrize(
    'content',
    [
        lambda model: model.state_dict(),
        lambda model: {'state_dict': model.state_dict(), 'epoch': 3},
        lambda model: {'state_dict': dict(model.state_dict()), 'meta': {META_KEY: describe(model)}},
        lambda model: nn.DataParallel(model).state_dict(),
        lambda model: AveragedModel(model).state_dict(),
        lambda model: nn.DataParallel(Compiled(model)).state_dict(),
        lambda model: {
            'state_dict': dict(nn.DataParallel(model).state_dict()),
            'meta': {META_KEY: describe(model)},
        },
    ],
    ids=['state', 'checkpoint', 'meta', 'DDP', 'averaged', 'compiled', 'DDP and meta'],
)
def test_any_module_takes_over_the_structure(pruned, content, tmp_path):
    torch.save(content(pruned), tmp_path / 'pruned.pth')
    for source in (content(pruned), tmp_path / 'pruned.pth', str(tmp_path / 'pruned.pth')):
        dense = GroupedNet()
        parameters = dict(dense.named_parameters())
        assert load_pruned(dense, source) is dense
        assert_same(dense, pruned)
        assert all(p is parameters[name] for name, p in dense.named_parameters())


def test_a_loaded_model_is_pruned_and_saved_further(pruned):
    loaded = load_pruned(GroupedNet(), pruned.state_dict())
    for model in (loaded, pruned):
        pruner_of(model).step(keep_ratio=0.7)
    assert kept_channels(loaded) == kept_channels(pruned)
    assert_same(load_pruned(GroupedNet(), loaded.state_dict()), pruned)


def test_the_pruned_part_of_a_larger_model_shrinks(pruned):
    larger = nn.Sequential(pruned, nn.Conv2d(2, 2, 1)).eval()
    dense = nn.Sequential(GroupedNet(), nn.Conv2d(2, 2, 1))
    load_pruned(dense, larger.state_dict())
    assert_same(dense, larger)
    assert describe(dense[0]) == describe(pruned)


def test_a_dense_state_loads_as_ever():
    model = randomize(GroupedNet()).eval()
    for source in (model.state_dict(), nn.DataParallel(model).state_dict()):
        assert_same(load_pruned(GroupedNet(), source), model)


def test_a_state_without_a_mark_that_does_not_fit_says_so(pruned):
    state = {name: tensor.clone() for name, tensor in pruned.state_dict().items()}
    with pytest.raises(ValueError, match=r'weight has shape .* in the model.* it has no mark'):
        load_pruned(GroupedNet(), state)
    with pytest.raises(ValueError, match=r'lacks conv\.bias.* it has no mark'):
        load_pruned(FlattenNet(), state)
    with pytest.raises(RuntimeError, match='size mismatch'):  # PyTorch's own loader
        GroupedNet().load_state_dict(pruned.state_dict())


def other_outputs():
    model = GroupedNet()
    model.out = nn.Conv2d(12, 5, 1)
    return model


def test_other_outputs_are_an_error_unless_not_strict(pruned):
    message = r'out\.weight has shape \(2, (\d+), 1, 1\) in the checkpoint and \(5, \1, 1, 1\)'
    with pytest.raises(ValueError, match=message) as caught:
        load_pruned(other_outputs(), pruned.state_dict())
    assert 'no mark' not in str(caught.value)
    model = load_pruned(other_outputs(), pruned.state_dict(), strict=False)
    assert model.out.weight.shape == (5, *pruned.out.weight.shape[1:])
    assert torch.equal(model.grouped.weight, pruned.grouped.weight)


@pytest.mark.parametrize('strict', [True, False])
def test_a_marked_state_of_another_model_is_an_error(pruned, strict):
    with pytest.raises(ValueError, match=r'lacks conv\.bias.*; it has the unknown first\.bias'):
        load_pruned(FlattenNet(), pruned.state_dict(), strict=strict)
    narrow = GroupedNet()
    narrow.first = nn.Conv2d(3, 2, 3)
    with pytest.raises(ValueError, match=r'first\.weight has shape .* and \(2, 3, 3, 3\)'):
        load_pruned(narrow, pruned.state_dict(), strict=strict)


def test_the_state_given_is_not_changed(pruned):
    state = nn.DataParallel(pruned).state_dict()
    names, metadata = list(state), copy.deepcopy(state._metadata)
    load_pruned(GroupedNet(), state)
    assert (list(state), state._metadata) == (names, metadata)
    content = {'state_dict': OrderedDict(pruned.state_dict()), 'meta': {META_KEY: describe(pruned)}}
    load_pruned(GroupedNet(), content)
    assert not hasattr(content['state_dict'], '_metadata')
