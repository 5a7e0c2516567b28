"""Ordinary transfer learning from checkpoints that StructureHook or PruningHook wrote."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from adasap_det.checkpoint.loading import load_model
from adasap_det.checkpoint.structure import META_KEY, shapes_of

from ..helpers.training_runs import TinyNet, tiny_config, train


@MODELS.register_module()
class TinyHead(TinyNet):
    """TinyNet with another number of classes."""

    def __init__(self, classes=4, **kwargs):
        super().__init__(**kwargs)
        self.out = nn.Linear(16, classes)


def config(folder, *, classes=4, epochs=1, **changes):
    return tiny_config(
        folder,
        model={'type': 'TinyHead', 'classes': classes},
        train_cfg={'type': 'EpochBasedTrainLoop', 'max_epochs': epochs},
        **changes,
    )


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Of four classes, by name: dense and pruned."""
    folder = tmp_path_factory.mktemp('checkpoints')
    train(config(folder / 'dense', custom_hooks=[{'type': 'StructureHook'}]))
    train(config(folder / 'pruned', epochs=3))
    return {
        'dense': folder / 'dense/epoch_1.pth',
        'pruned': folder / 'pruned/epoch_3.pth',
    }


def test_only_pruned_dimensions_are_recorded(checkpoints):
    loaded = {name: torch.load(path, weights_only=True) for name, path in checkpoints.items()}
    assert META_KEY not in loaded['dense']['state_dict']._metadata['']
    assert loaded['dense']['meta'][META_KEY]['pruned_dims'] == {}
    pruned_dims = {
        'stem.weight': [0], 'stem.bias': [0], 'bn.weight': [0], 'bn.bias': [0],
        'bn.running_mean': [0], 'bn.running_var': [0], 'inner.weight': [0, 1],
        'inner_bn.weight': [0], 'inner_bn.bias': [0], 'inner_bn.running_mean': [0],
        'inner_bn.running_var': [0], 'back.weight': [0, 1], 'back.bias': [0], 'out.weight': [1],
    }  # fmt: skip
    assert loaded['pruned']['meta'][META_KEY]['pruned_dims'] == pruned_dims
    assert loaded['pruned']['state_dict']._metadata[''][META_KEY]['pruned_dims'] == pruned_dims


@pytest.mark.parametrize('hooks', [[], [{'type': 'StructureHook'}]])
@pytest.mark.parametrize('classes', [8, 2])
@pytest.mark.parametrize('source', ['dense', 'pruned'])
def test_different_number_of_classes_trains_a_new_head(
    tmp_path, checkpoints, source, classes, hooks
):
    cfg = config(tmp_path, classes=classes, custom_hooks=hooks)
    cfg.load_from = str(checkpoints[source])
    trained = train(cfg).model
    there = torch.load(checkpoints[source], weights_only=True)['state_dict']
    assert trained.out.weight.shape == (classes, there['out.weight'].shape[1])
    assert trained.out.bias.shape == (classes,)
    assert trained.inner.weight.shape == there['inner.weight'].shape
    # The rest is the checkpoint's: a short training with this rate has not moved it far.
    near = (trained.inner.weight - there['inner.weight']).norm() / there['inner.weight'].norm()
    assert near < 0.5


def test_pruned_structure_is_saved_again_after_fine_tuning(tmp_path, checkpoints):
    cfg = config(tmp_path, classes=8, custom_hooks=[{'type': 'StructureHook'}])
    cfg.load_from = str(checkpoints['pruned'])
    tuned = train(cfg).model
    first, second = (
        torch.load(path, weights_only=True)
        for path in (checkpoints['pruned'], tmp_path / 'epoch_1.pth')
    )
    for key in ('pruned_dims', 'kept', 'dense_channels'):
        assert second['meta'][META_KEY][key] == first['meta'][META_KEY][key]
    again = TinyHead(classes=8)
    again.load_state_dict(second['state_dict'])
    assert all(torch.equal(t, tuned.state_dict()[n]) for n, t in again.state_dict().items())


def test_marked_state_dict_shrinks_the_model_and_its_averaged_copy(tmp_path, checkpoints):
    """Without ``meta``."""
    model = TinyHead()
    model.load_state_dict(torch.load(checkpoints['pruned'], weights_only=True)['state_dict'])
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'plain.pth')
    cfg = config(tmp_path / 'run', custom_hooks=[{'type': 'StructureHook'}, {'type': 'EMAHook'}])
    cfg.load_from = str(tmp_path / 'plain.pth')
    runner = train(cfg)
    averaged = next(h.ema_model.module for h in runner.hooks if hasattr(h, 'ema_model'))
    assert shapes_of(runner.model.state_dict()) == shapes_of(averaged.state_dict())
    assert shapes_of(averaged.state_dict()) == shapes_of(model.state_dict())


@pytest.mark.parametrize('classes', [8, 2])
@pytest.mark.parametrize('source', ['dense', 'pruned'])
def test_a_random_head_is_not_evaluated(tmp_path, checkpoints, source, classes):
    cfg = config(tmp_path, classes=classes, custom_hooks=[{'type': 'StructureHook'}])
    with pytest.raises(ValueError, match=r'out\.weight has shape \(4, .* config'):
        load_model(cfg, checkpoints[source])
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = {'type': 'TestLoop'}
    cfg.load_from = str(checkpoints[source])
    with pytest.raises(ValueError, match=r'out\.weight has shape \(4, .* config'):
        Runner.from_cfg(cfg).test()
    # As in the sweep over corruptions, which builds its loops later.
    runner = Runner.from_cfg({**cfg, 'experiment_name': 'sweep'})
    runner.call_hook('before_run')
    with pytest.raises(ValueError, match=r'out\.weight has shape \(4, .* config'):
        runner.load_or_resume()
