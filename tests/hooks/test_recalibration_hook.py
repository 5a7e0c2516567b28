"""Batch norm statistics re-estimated while MMEngine trains."""

import copy
import math

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from adasap_det.hooks import PruningHook, RecalibrationHook, recalibration_hook
from adasap_det.utils.model_recalibration import recalibrate_model

from ..helpers.training_runs import HOOK, TinyData, TinyNet, tiny_config, train

BATCHES = 3
RECALIBRATION = {'type': 'RecalibrationHook', 'batches': BATCHES}
RANDOM_STATE = {'type': 'RandomStateHook'}
BY_EPOCH = {'type': 'EpochBasedTrainLoop', 'max_epochs': 6}
BY_ITERATION = {'type': 'IterBasedTrainLoop', 'max_iters': 20, 'val_interval': 7}


def config(work_dir, loop, **changes):
    cfg = tiny_config(work_dir, train_cfg=loop, **changes)
    if loop['type'] == 'IterBasedTrainLoop':
        cfg.train_dataloader.sampler = {'type': 'InfiniteSampler', 'shuffle': True}
    return cfg


@MODELS.register_module()
class HalfFrozenNet(TinyNet):
    """TinyNet whose first norm trains with its running statistics, as ``norm_eval`` does."""

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self


@DATASETS.register_module()
class CountingData(TinyData):
    """Counts the images it has given, as a transform with a cache keeps images."""

    given = 0

    def __getitem__(self, index):
        self.given += 1
        return super().__getitem__(index)


@pytest.fixture
def calls(monkeypatch):
    """Iteration, model and layers of each re-estimation."""
    found = []
    run = recalibration_hook.recalibrate_run
    monkeypatch.setattr(
        recalibration_hook,
        'recalibrate_run',
        lambda runner, batches, layers: (
            found.append((runner.iter, layers)) if batches else None,
            run(runner, batches, layers),
        ),
    )
    return found


class Watch(Hook):
    """Records the statistics of the model at each evaluation, and how often it evaluates."""

    priority = 'LOWEST'

    def __init__(self):
        self.iterations, self.states = [], []

    def before_val(self, runner):
        self.iterations.append(runner.iter)
        self.states.append(copy.deepcopy(runner.model.state_dict()))


def run_watched(cfg):
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return runner, watch


def expected_statistics(state, cfg, *, net=TinyNet):
    """State dict with the statistics that a network of these weights should have."""
    model = net(width=len(state['bn.weight']))
    model.load_state_dict(state)
    recalibrate_model(model, cfg.train_dataloader, batches=BATCHES, seed=5)
    return model.state_dict()


def assert_same_state(actual, expected):
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def statistics(state):
    return {name: value for name, value in state.items() if 'running' in name}


@pytest.mark.parametrize('loop', [BY_EPOCH, BY_ITERATION])
@pytest.mark.parametrize('random_state', [[RANDOM_STATE], []])
def test_training_is_as_without(tmp_path, loop, random_state):
    states = []
    for hooks in ([], [RECALIBRATION]):
        cfg = config(tmp_path / str(len(hooks)), loop, custom_hooks=[*random_state, *hooks])
        states.append(train(cfg).model.state_dict())
    for name in statistics(states[0]):
        assert not torch.equal(states[0].pop(name), states[1].pop(name))
    assert_same_state(*states)


@pytest.mark.parametrize('loop', [BY_EPOCH, BY_ITERATION])
def test_statistics_at_evaluation_are_those_of_training_batches(tmp_path, loop):
    cfg = config(tmp_path, loop, custom_hooks=[RECALIBRATION])
    runner, watch = run_watched(cfg)
    assert len(watch.states) == (6 if loop is BY_EPOCH else 3)
    for state in watch.states:
        assert_same_state(state, expected_statistics(state, cfg))
    assert_same_state(runner.model.state_dict(), watch.states[-1])


@pytest.mark.parametrize(
    'loop',
    [
        {**BY_EPOCH, 'val_begin': 2, 'val_interval': 2},
        {**BY_EPOCH, 'val_interval': 4},
        {**BY_EPOCH, 'val_interval': 4, 'dynamic_intervals': [(3, 1)]},
        {**BY_ITERATION, 'dynamic_intervals': [(15, 2)]},
    ],
)
def test_re_estimates_right_before_each_evaluation(tmp_path, calls, loop):
    cfg = config(tmp_path, loop, custom_hooks=[RECALIBRATION])
    _, watch = run_watched(cfg)
    counted_before = 0 if loop['type'] == 'EpochBasedTrainLoop' else 1
    assert [iteration + counted_before for iteration, _ in calls] == watch.iterations


def test_re_estimates_at_the_end_where_nothing_is_evaluated(tmp_path, calls):
    changes = dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg'))
    cfg = tiny_config(tmp_path, train_cfg=BY_EPOCH, custom_hooks=[RECALIBRATION], **changes)
    train(cfg)
    assert [iteration for iteration, _ in calls] == [36]


@pytest.mark.parametrize('loop', [BY_EPOCH, {**BY_ITERATION, 'val_interval': 6}])
def test_what_is_evaluated_is_what_is_saved(tmp_path, loop):
    by_epoch = loop is BY_EPOCH
    checkpoint = {'type': 'CheckpointHook', 'interval': 1 if by_epoch else 6, 'by_epoch': by_epoch}
    cfg = config(
        tmp_path,
        loop,
        custom_hooks=[RECALIBRATION],
        default_hooks={'checkpoint': checkpoint},
    )
    _, watch = run_watched(cfg)
    saved = torch.load(
        tmp_path / ('epoch_2.pth' if by_epoch else 'iter_12.pth'), weights_only=False
    )
    assert_same_state(saved['state_dict'], watch.states[1])


@pytest.mark.parametrize('loop', [BY_EPOCH, BY_ITERATION])
def test_averaged_copies_have_statistics_of_their_own(tmp_path, loop):
    hooks = [{'type': 'EMAHook', 'momentum': 0.2}, RECALIBRATION]
    cfg = config(tmp_path, loop, custom_hooks=hooks)
    runner, _ = run_watched(cfg)
    averaged = next(h for h in runner.hooks if isinstance(h, EMAHook)).ema_model.module
    assert_same_state(averaged.state_dict(), expected_statistics(averaged.state_dict(), cfg))
    assert not torch.equal(averaged.bn.running_mean, runner.model.bn.running_mean)


def test_layers_that_train_with_running_statistics_keep_them(tmp_path):
    model = {'type': 'HalfFrozenNet'}
    cfg = tiny_config(tmp_path, model=model, custom_hooks=[RECALIBRATION])
    state = train(cfg).model.state_dict()
    assert not state['bn.running_mean'].any()
    assert state['inner_bn.running_mean'].all()


def test_images_are_read_from_a_copy_of_the_data_set(tmp_path):
    cfg = tiny_config(tmp_path, custom_hooks=[RECALIBRATION])
    cfg.train_dataloader.dataset = {'type': 'CountingData'}
    assert train(cfg).train_dataloader.dataset.given == 6 * 24


def test_loader_that_is_no_config_is_an_error(tmp_path):
    cfg = tiny_config(tmp_path, custom_hooks=[RECALIBRATION])
    cfg.pop('train_dataloader')
    runner = Runner(
        TinyNet(), str(tmp_path), train_dataloader=DataLoader(TinyData(), batch_size=4),
        train_cfg=cfg.train_cfg, optim_wrapper=cfg.optim_wrapper, custom_hooks=[RECALIBRATION],
        experiment_name=cfg.experiment_name,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r'train_dataloader as a config.*recalibrate_batches=0'):
        runner.train()


def test_number_of_batches_is_checked():
    with pytest.raises(ValueError, match=r'RecalibrationHook\.batches .* got 0'):
        RecalibrationHook(batches=0)
    with pytest.raises(ValueError, match=r'PruningHook\.recalibrate_batches .* got -1'):
        PruningHook(budget={'type': 'ParamsBudget', 'keep_ratio': 0.5}, recalibrate_batches=-1)


# ---------------------------------------------------------------------- in PruningHook

PRUNING = {**HOOK, 'recalibrate_batches': BATCHES}  # prune steps before 12, 14, 16
ALL = ['bn', 'inner_bn']


def test_re_estimates_after_the_last_prune_step_and_before_evaluations(tmp_path, calls):
    cfg = tiny_config(
        tmp_path,
        train_cfg={**BY_EPOCH, 'val_interval': 2},
        custom_hooks=[{**PRUNING, 'evaluate_pruning': True}],
    )
    train(cfg)
    assert calls == [(n, ALL) for n in (12, 12, 16, 24, 36)]  # 12: end of epoch, before pruning


def test_re_estimates_after_every_prune_step_where_running_statistics_are_trained_with(
    tmp_path, calls
):
    cfg = tiny_config(tmp_path, model={'type': 'HalfFrozenNet'}, custom_hooks=[PRUNING])
    cfg.train_cfg.val_interval = math.inf
    state = train(cfg).model.state_dict()
    assert calls == [(12, ALL), (14, ALL), (16, ALL), (36, ['inner_bn'])]
    assert state['bn.running_mean'].all()


def test_does_nothing_by_default(tmp_path, calls):
    train(tiny_config(tmp_path))
    assert calls == []


@pytest.mark.parametrize('epoch', [1, 3])
def test_resumed_run_ends_as_an_uninterrupted_one(tmp_path, epoch):
    changes = {'custom_hooks': [RANDOM_STATE, {'type': 'EMAHook'}, PRUNING]}
    whole = train(tiny_config(tmp_path / 'run', **changes))
    cfg = tiny_config(
        tmp_path / 'resumed', load_from=str(tmp_path / f'run/epoch_{epoch}.pth'), resume=True,
        **changes,
    )  # fmt: skip
    assert_same_state(train(cfg).model.state_dict(), whole.model.state_dict())
