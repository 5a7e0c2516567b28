import copy
import json
import logging
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from adasap_det.checkpoint.removed_blocks import removed_blocks
from adasap_det.checkpoint.structure import META_KEY, kept_channels
from adasap_det.hooks import PruningHook
from adasap_det.optim.looksam import DIRECTION
from adasap_det.pruning import count_macs, count_params
from adasap_det.utils.input_size import pipeline_input_size

from ..helpers.known_times import install
from ..helpers.toy import ResidualBlock
from ..helpers.training_runs import HOOK, WRAPPER, TinyNet, tiny_config, train


def hook_of(runner):
    return next(h for h in runner.hooks if isinstance(h, PruningHook))


class Recorder(Hook):
    """Records the state of the network and the wrapper at every iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.stages, self.params = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.stages.append(getattr(runner.optim_wrapper, 'stage', None))
        self.params.append(count_params(runner.model))


class Killed(Exception):
    """Stands for a run that ends without notice."""


class KillAt(Hook):
    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise Killed


def run_with(cfg, *hooks):
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def assert_resumed_equals_whole(config, tmp_path, iteration):
    """A run that is killed at an iteration and resumed ends in the weights of one left alone."""
    whole = train(config(tmp_path / 'whole'))
    cfg = config(tmp_path / 'killed')
    with pytest.raises(Killed):
        run_with(cfg, KillAt(iteration))
    cfg.resume = True
    assert_same_state(train(cfg).model.state_dict(), whole.model.state_dict())


def assert_same_state(actual, expected):
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def test_stages_and_prune_steps_follow_the_schedule(tmp_path):
    recorder = Recorder()
    hook = {**HOOK, 'adaptive_begin': 1}
    cfg = tiny_config(tmp_path, custom_hooks=[hook])
    run_with(cfg, recorder)
    assert recorder.stages == ['plain'] * 6 + ['adaptive'] * 10 + ['uniform'] * 20
    sizes = recorder.params
    changes = [i for i in range(1, 36) if sizes[i] != sizes[i - 1]]
    assert changes == [12, 14, 16]
    dense = sizes[0]
    # Exponential: after prune step k of 3, at most 0.5 ** (k / 3) of the parameters are left.
    for iteration, share in ((12, 0.5 ** (1 / 3)), (14, 0.5 ** (2 / 3)), (16, 0.5)):
        assert sizes[iteration] <= share * dense
        assert sizes[iteration] > (share - 0.08) * dense  # the largest group's step


@pytest.mark.parametrize(
    ('before', 'after'),
    [('uniform', 'uniform'), ('plain', 'uniform'), ('inverse', 'plain'), ('adaptive', 'plain')],
)
def test_ablations_change_perturbation_but_not_prune_steps(tmp_path, before, after):
    recorder = Recorder()
    hook = {
        **HOOK,
        'adaptive_begin': 1,
        'perturbation_before_pruning': before,
        'perturbation_after_pruning': after,
    }
    run_with(tiny_config(tmp_path, custom_hooks=[hook]), recorder)
    assert recorder.stages == ['plain'] * 6 + [before] * 10 + [after] * 20
    assert [i for i in range(1, 36) if recorder.params[i] != recorder.params[i - 1]] == [12, 14, 16]


@OPTIM_WRAPPERS.register_module()
class SkippingWrapper(OptimWrapper):
    """Skips the steps of some iterations, as a gradient scaler does where they overflow."""

    def __init__(self, *args, skipped, **kwargs):
        super().__init__(*args, **kwargs)
        self.skipped = skipped

    def step(self, **kwargs):
        if self._inner_count - 1 not in self.skipped:  # the backward pass has counted
            super().step(**kwargs)


def taylor_run(tmp_path, *, skipped):
    hook = {
        **HOOK, 'importance': {'type': 'TaylorImportance'}, 'by_epoch': False,
        'prune_begin': 2, 'prune_steps': 2, 'prune_interval': 1,
    }  # fmt: skip
    wrapper = {
        'type': 'SkippingWrapper', 'optimizer': WRAPPER['optimizer'], 'skipped': skipped,
    }  # fmt: skip
    recorder = Recorder()
    cfg = tiny_config(
        tmp_path,
        custom_hooks=[hook],
        optim_wrapper=wrapper,
        train_cfg={'type': 'EpochBasedTrainLoop', 'max_epochs': 1},
    )
    run_with(cfg, recorder)
    return recorder.params


def test_prune_step_without_gradients_is_deferred_to_the_next(tmp_path):
    dense = count_params(TinyNet())
    sizes = taylor_run(tmp_path / 'all', skipped=[])
    assert sizes[1] == dense
    assert 0.5 * dense < sizes[2] <= 0.5**0.5 * dense
    assert sizes[3] <= 0.5 * dense
    sizes = taylor_run(tmp_path / 'first', skipped=[0, 1])
    assert sizes[:3] == [dense] * 3
    assert sizes[3] <= 0.5 * dense


def test_last_prune_step_without_gradients_is_an_error(tmp_path):
    with pytest.raises(
        ValueError, match=r'Prune step 2/2: TaylorImportance has seen no gradient.*prune'
    ):
        taylor_run(tmp_path, skipped=[2])


def test_repeated_pruning_keeps_dense_channel_numbers(tmp_path):
    first = train(tiny_config(tmp_path / 'first'))
    cfg = tiny_config(tmp_path / 'second')
    cfg.load_from = str(tmp_path / 'first/epoch_6.pth')
    second = train(cfg)
    structure = torch.load(tmp_path / 'second/epoch_6.pth', weights_only=True)['meta'][META_KEY]
    assert structure['dense_channels'] == {'stem': 16, 'inner': 16}
    assert count_params(second.model) <= 0.5 * count_params(first.model)
    for name, channels in kept_channels(second.model).items():
        assert structure['kept'][name] == channels
        assert set(channels) < set(kept_channels(first.model)[name])
    # The fewest channels allowed refer to the network that this run began with.
    sizes = {name: len(channels) for name, channels in kept_channels(first.model).items()}
    assert hook_of(second).pruner.state_dict()['dense_sizes'] == sizes


class Radii(Hook):
    """Records the radii and the importance of the first iteration."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            self.radii = runner.optim_wrapper._perturber.channels.radii.clone()
            self.scores = runner.optim_wrapper._perturber.channels.scores.clone()


def test_the_inverse_stage_perturbs_the_important_more(tmp_path):
    noted = Radii()
    run_with(
        tiny_config(tmp_path, custom_hooks=[{**HOOK, 'perturbation_before_pruning': 'inverse'}]),
        noted,
    )
    order = noted.scores.argsort()
    assert noted.radii[order].diff().ge(0).all()
    assert float(noted.radii[order[0]]) == pytest.approx(0.01)
    assert float(noted.radii[order[-1]]) == pytest.approx(WRAPPER['rho_max'])


def test_schedule_by_iteration(tmp_path):
    recorder = Recorder()
    hook = {**HOOK, 'by_epoch': False, 'adaptive_begin': 3, 'prune_begin': 7, 'prune_steps': 2}
    run_with(tiny_config(tmp_path, custom_hooks=[hook]), recorder)
    assert recorder.stages == ['plain'] * 3 + ['adaptive'] * 6 + ['uniform'] * 27


def test_prune_steps_wait_for_accumulated_step(tmp_path):
    recorder = Recorder()
    cfg = tiny_config(
        tmp_path,
        optim_wrapper={**WRAPPER, 'accumulative_counts': 3},
        custom_hooks=[{**HOOK, 'by_epoch': False, 'prune_begin': 7}],
    )
    run_with(cfg, recorder)
    sizes = recorder.params
    assert [i for i in range(1, 36) if sizes[i] != sizes[i - 1]] == [9, 12, 15]


def test_plain_optimizer_is_pruned_on_the_same_schedule(tmp_path):
    recorder = Recorder()
    wrapper = {'type': 'OptimWrapper', 'optimizer': WRAPPER['optimizer']}
    runner = run_with(tiny_config(tmp_path, optim_wrapper=wrapper), recorder)
    assert set(recorder.stages) == {None}
    assert recorder.params[-1] <= 0.5 * recorder.params[0]
    assert count_params(runner.model) == recorder.params[-1]


def test_training_continues_after_pruning(tmp_path):
    """The optimizer must hold the live parameters, with momentum of their shape."""
    runner = train(tiny_config(tmp_path))
    held = {id(p) for g in runner.optim_wrapper.optimizer.param_groups for p in g['params']}
    for name, parameter in runner.model.named_parameters():
        assert id(parameter) in held, name
        momentum = runner.optim_wrapper.optimizer.state[parameter]['momentum_buffer']
        assert momentum.shape == parameter.shape
        assert momentum.abs().sum() > 0
    last = torch.load(tmp_path / 'epoch_6.pth')['state_dict']
    previous = torch.load(tmp_path / 'epoch_5.pth')['state_dict']
    assert not torch.equal(last['inner.weight'], previous['inner.weight'])


@pytest.mark.parametrize('kill_at', [7, 15, 13, 27])  # adaptive, between prune steps (two), uniform
def test_resumed_run_ends_in_the_same_weights(tmp_path, kill_at):
    full = train(tiny_config(tmp_path / 'full'))
    with pytest.raises(Killed):
        run_with(tiny_config(tmp_path / 'killed'), KillAt(kill_at))
    resumed = train(tiny_config(tmp_path / 'killed', resume=True))
    assert resumed.iter == full.iter == 36
    assert_same_state(resumed.model.state_dict(), full.model.state_dict())
    assert kept_channels(resumed.model) == kept_channels(full.model)


@pytest.mark.parametrize('kill_at', [7, 15, 27])
def test_resumed_run_with_interval_ends_in_the_same_weights(tmp_path, kill_at):
    """They are pruned with the channels, saved and resumed: checkpoints fall between two passes."""
    wrapper = {**WRAPPER, 'interval': 4}
    full = train(tiny_config(tmp_path / 'full', optim_wrapper=wrapper))
    with pytest.raises(Killed):
        run_with(tiny_config(tmp_path / 'killed', optim_wrapper=wrapper), KillAt(kill_at))
    resumed = train(tiny_config(tmp_path / 'killed', optim_wrapper=wrapper, resume=True))
    assert_same_state(resumed.model.state_dict(), full.model.state_dict())
    state = full.optim_wrapper.optimizer.state
    for name, parameter in full.model.named_parameters():
        assert state[parameter][DIRECTION].shape == parameter.shape, name
    # As many second passes as steps that perturb: 36 / 4.
    assert len(full.message_hub.log_scalars['train/rise'].data[0]) == 9


@pytest.mark.parametrize('kill_at', [5, 13, 15, 25])
@pytest.mark.parametrize('importance', ['MagnitudeImportance', 'TaylorImportance'])
def test_resumed_iteration_based_run_ends_in_the_same_weights(tmp_path, kill_at, importance):
    changes = {
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 30, 'val_interval': 10},
        'default_hooks': {
            'checkpoint': {'type': 'CheckpointHook', 'interval': 3, 'by_epoch': False}
        },
        'param_scheduler': [{'type': 'StepLR', 'step_size': 9, 'by_epoch': False}],
        'custom_hooks': [
            {'type': 'RandomStateHook'},
            {
                **HOOK,
                'importance': {'type': importance},
                'by_epoch': False,
                'prune_begin': 12,
                'score_interval': 4,
            },
        ],
    }

    def config(name, **more):
        cfg = tiny_config(tmp_path / name, **changes, **more)
        cfg.train_dataloader.sampler = {'type': 'InfiniteSampler', 'shuffle': True}
        return cfg

    full = train(config('full'))
    with pytest.raises(Killed):
        run_with(config('killed'), KillAt(kill_at))
    resumed = train(config('killed', resume=True))
    assert_same_state(resumed.model.state_dict(), full.model.state_dict())


@pytest.mark.parametrize('update_buffers', [False, True])
def test_ema_copy_is_pruned(tmp_path, update_buffers):
    ema = {'type': 'EMAHook', 'update_buffers': update_buffers}
    changes = {'custom_hooks': [ema, {'type': 'RandomStateHook'}, HOOK]}
    full = train(tiny_config(tmp_path / 'full', **changes))
    averaged = next(h for h in full.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    assert count_params(averaged) == count_params(full.model)
    with pytest.raises(Killed):
        run_with(tiny_config(tmp_path / 'killed', **changes), KillAt(19))
    resumed = train(tiny_config(tmp_path / 'killed', resume=True, **changes))
    assert_same_state(resumed.model.state_dict(), full.model.state_dict())
    again = next(h for h in resumed.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    assert_same_state(again.state_dict(), averaged.state_dict())


@MODELS.register_module()
class TinyBlocks(BaseModel):
    """Two residual blocks and a linear output layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(ResidualBlock(), ResidualBlock())
        self.out = nn.Linear(8, 2)

    def forward(self, inputs, labels=None, mode='tensor'):
        x = self.out(self.body(self.stem(inputs).relu()).mean((2, 3)))
        if mode == 'loss':
            return {'loss': nn.functional.cross_entropy(x, labels)}
        return [{'right': bool(r)} for r in x.argmax(1) == labels] if mode == 'predict' else x


@pytest.mark.parametrize('kill_at', [13, 27])
def test_a_resumed_run_without_blocks_ends_in_the_same_weights(tmp_path, kill_at):
    changes = {
        'model': {'type': 'TinyBlocks'},
        'custom_hooks': [
            {'type': 'EMAHook'},
            {'type': 'RandomStateHook'},
            {
                **HOOK,
                'prune_blocks': True,
                'budget': {'type': 'ParamsBudget', 'keep_ratio': 0.6},
                'min_keep_ratio': 0.9,  # a block must go
                'importance': {'type': 'TaylorImportance'},
            },
        ],
    }
    full = train(tiny_config(tmp_path / 'full', **changes))
    removed = removed_blocks(full.model)
    assert len(removed) == 1
    with pytest.raises(Killed):
        run_with(tiny_config(tmp_path / 'killed', **changes), KillAt(kill_at))
    resumed = train(tiny_config(tmp_path / 'killed', resume=True, **changes))
    assert_same_state(resumed.model.state_dict(), full.model.state_dict())
    for runner in (full, resumed):
        averaged = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook').ema_model.module
        assert removed_blocks(averaged) == removed
        groups = runner.optim_wrapper.optimizer.param_groups
        assert {p for g in groups for p in g['params']} == set(runner.model.parameters())
    tuned = train(
        tiny_config(
            tmp_path / 'tuned',
            model={'type': 'TinyBlocks'},
            load_from=str(tmp_path / 'full/epoch_6.pth'),
            custom_hooks=[{'type': 'StructureHook'}],
        )
    )
    assert removed_blocks(tuned.model) == removed


def test_checkpoint_is_plain_data_and_loads_into_the_dense_model(tmp_path):
    runner = train(tiny_config(tmp_path))
    checkpoint = torch.load(tmp_path / 'epoch_6.pth', weights_only=True)
    structure = checkpoint['meta'][META_KEY]
    assert json.loads(json.dumps(structure)) == structure
    assert structure['kept'] == kept_channels(runner.model)
    assert sorted(structure['dense_channels'].values()) == [16, 16]

    model = TinyNet()
    model.load_state_dict(checkpoint['state_dict'])
    image = torch.rand(2, 3, 6, 6)
    runner.model.eval()
    assert torch.equal(model.eval()(image), runner.model(image))


def test_evaluates_before_and_after_pruning(tmp_path, monkeypatch):
    logged = []
    for module in ('pruning_evaluation', 'size_report'):
        monkeypatch.setattr(
            f'adasap_det.hooks.{module}.print_log', lambda text, **_: logged.append(text)
        )
    cfg = tiny_config(tmp_path, custom_hooks=[{**HOOK, 'evaluate_pruning': True}])
    recorder = Recorder()
    runner = run_with(cfg, recorder)
    lines = [t for t in logged if t.startswith(('Evaluation', 'Prune step'))]
    assert [line.split(':')[0] for line in lines] == [
        'Evaluation before pruning', 'Prune step 1/3', 'Prune step 2/3', 'Prune step 3/3',
        'Evaluation after pruning',
    ]  # fmt: skip
    assert 'accuracy' in lines[0]
    assert runner.model.training or runner.iter == 36


def test_logs_sharpness_radius_parameters_and_macs(tmp_path):
    runner = train(tiny_config(tmp_path))
    scalars = runner.message_hub.log_scalars
    assert len(scalars['train/rise'].data[0]) == 36
    low, middle, high = (scalars[f'train/rho_{p}'].data[0] for p in ('p01', 'p50', 'p99'))
    assert len(middle) == 16
    assert all(0.0099 < a < b < c < 0.5001 for a, b, c in zip(low, middle, high, strict=True))
    assert list(scalars['train/rho'].data[0]) == [0.5] * 20
    assert scalars['train/params_M'].current() == count_params(runner.model) / 1e6
    assert scalars['train/macs_G'].current() == pytest.approx(
        count_macs(runner.model, input_size=(6, 6)) / 1e9
    )


def test_scalars_are_seen_in_tensorboard(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cfg = tiny_config(
        tmp_path,
        custom_hooks=[{'type': 'RandomStateHook'}, {**HOOK, 'measure_latency': True}],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')]),
        log_processor=dict(by_epoch=False, window_size=1),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
    )
    runner = train(cfg)
    runner.visualizer.close()
    (folder,) = tmp_path.glob('*/vis_data')
    events = EventAccumulator(str(folder))
    events.Reload()
    seen = {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}
    assert seen['stage'] == [1.0] * 16 + [2.0] * 20  # adaptive up to the last prune step, uniform
    assert len(seen['rise']) == len(seen['perturbation_norm']) == 36
    assert min(seen['perturbation_norm']) > 0
    # One value for each size: dense, and after three prune steps.
    assert len(dict.fromkeys(seen['params_M'])) == len(dict.fromkeys(seen['macs_G'])) == 4
    assert seen['params_M'][-1] == pytest.approx(count_params(runner.model) / 1e6)
    assert len(dict.fromkeys(seen['latency_measured_ms'])) == 4
    assert min(seen['latency_measured_ms']) > 0


def test_excluded_layers_keep_their_channels(tmp_path):
    hook = {**HOOK, 'exclude': ['inner'], 'budget': {'type': 'ParamsBudget', 'keep_ratio': 0.6}}
    runner = train(tiny_config(tmp_path, custom_hooks=[hook]))
    assert runner.model.inner.out_channels == 16
    assert runner.model.stem.out_channels < 16


def test_ratios_of_layers_fall_with_the_schedule(tmp_path):
    sizes = []

    class Sizes(Recorder):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            sizes.append(runner.model.inner.out_channels)

    hook = {**HOOK, 'keep_ratios': {'inner': 0.5}}
    runner = run_with(tiny_config(tmp_path, custom_hooks=[hook]), Sizes())
    # The limits are 0.794, 0.630 and 0.5 of the cost: 0.413, 0.740 and all of the way.
    assert [*dict.fromkeys(sizes)] == [16, 12, 10, 8]
    assert count_params(runner.model) <= 0.5 * count_params(TinyNet())


def test_channels_are_rounded(tmp_path):
    hook = {**HOOK, 'round_to': 4, 'budget': {'type': 'MACsBudget', 'keep_ratio': 0.5}}
    runner = train(tiny_config(tmp_path, custom_hooks=[hook]))
    assert runner.model.inner.out_channels % 4 == 0
    assert runner.model.stem.out_channels % 4 == 0
    dense = count_macs(TinyNet(), input_size=(6, 6))
    assert count_macs(runner.model, input_size=(6, 6)) <= 0.5 * dense


def test_max_cost_prunes_like_equal_keep_ratio_and_logs_result(tmp_path):
    dense = count_params(TinyNet())
    models = []
    for name, budget in (('ratio', {'keep_ratio': 0.5}), ('amount', {'max_cost': dense / 2})):
        hook = {**HOOK, 'budget': {'type': 'ParamsBudget', **budget}}
        cfg = tiny_config(tmp_path / name, custom_hooks=[hook], log_level='INFO')
        models.append(train(cfg).model)
    share, amount = (dict(model.named_parameters()) for model in models)
    assert all(torch.equal(share[name], amount[name]) for name in share)
    (log,) = (tmp_path / 'amount').rglob('*.log')
    allowed, reached = (f'{n / 1000:.4g} k' for n in (dense / 2, count_params(models[1])))
    line = f'Budget: at most {allowed} parameters allowed, {reached} reached'
    assert line in log.read_text()


def test_latency_budget_is_met_and_logged(tmp_path, monkeypatch):
    install(monkeypatch.setattr)
    table = tmp_path / 'table.json'
    hook = {**HOOK, 'budget': {'type': 'LatencyBudget', 'keep_ratio': 0.7, 'table': str(table)}}
    runner = train(tiny_config(tmp_path / 'run', custom_hooks=[hook], log_level='INFO'))
    (log,) = (tmp_path / 'run').rglob('*.log')
    lines = re.findall(r'predicted latency .*?\(([\d.]+)%\)', log.read_text())
    assert lines[0] == '100.0'
    assert 60 < float(lines[-1]) <= 70
    assert len(lines) == 1 + HOOK['prune_steps']
    assert count_params(runner.model) < count_params(TinyNet())
    assert table.is_file()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'importance': {'type': 'Magic'}}, ['importance', 'Magic', 'MagnitudeImportance']),
        ({'budget': {'type': 'Money', 'keep_ratio': 0.5}}, ['budget', 'Money', 'ParamsBudget']),
        ({'budget': {'type': 'ParamsBudget', 'keep_ratio': 1.5}}, ['budget.keep_ratio', '1.5']),
        ({'budget': {'type': 'ParamsBudget', 'keep_ratio': 0}}, ['budget.keep_ratio', '0']),
        ({'prune_begin': 9}, ['prune_steps=3', 'training ends after 36']),
        ({'prune_steps': 30}, ['prune_interval', 'training ends after 36']),
        ({'adaptive_begin': 3}, ['adaptive_begin=3', 'prune_begin=2']),
        ({'prune_interval': 0}, ['prune_interval', '0']),
        ({'round_to': 0}, ['round_to', '0']),
        ({'min_keep_ratio': 1.0}, ['min_keep_ratio', '1.0']),
        (
            {'perturbation_before_pruning': 'inverted'},
            ['perturbation_before_pruning', 'inverted', 'inverse'],
        ),
        (
            {'perturbation_after_pruning': 'adaptive'},
            ['perturbation_after_pruning', 'adaptive', 'uniform'],
        ),
        ({'exclude': ['inner', 'stem', 'back']}, ['no channel', 'excluded']),
        ({'exclude': ['steem']}, ['steem', 'matches no layer']),
        ({'keep_ratios': {'sten': 0.5}}, ['PruningHook.keep_ratios', "'sten' matches no layer"]),
        ({'keep_ratios': {'*': 0.9}}, ['keep_ratio=0.5', 'cannot be reached', 'keep_ratios']),
        ({'min_keep_ratio': 0.8}, ['keep_ratio=0.5', 'cannot be reached', 'min_keep_ratio=0.8']),
    ],
)
def test_invalid_options_are_an_error_before_training(tmp_path, change, words):
    recorder = Recorder()
    with pytest.raises(ValueError) as error:
        run_with(tiny_config(tmp_path, custom_hooks=[{**HOOK, **change}]), recorder)
    for word in words:
        assert word in str(error.value)
    assert not recorder.stages


@pytest.mark.skipif(not hasattr(torch.optim, 'Adafactor'), reason='PyTorch has it from 2.5 on')
def test_an_optimizer_whose_state_cannot_be_pruned_is_an_error_before_training(tmp_path):
    wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': torch.optim.Adafactor, 'lr': 0.01}}
    recorder = Recorder()
    with pytest.raises(ValueError, match=r'Adafactor keeps .* cannot be pruned'):
        run_with(tiny_config(tmp_path, custom_hooks=[HOOK], optim_wrapper=wrapper), recorder)
    assert not recorder.params


def test_input_size_is_read_from_the_pipeline():
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'Resize', 'scale': (320, 224)}]
    cfg = {'train_dataloader': {'dataset': {'dataset': {'pipeline': pipeline}}}}
    assert pipeline_input_size(cfg) == (224, 320)
    with pytest.raises(ValueError, match='input_size'):
        pipeline_input_size({'train_dataloader': {}})


def test_options_given_are_not_changed(tmp_path):
    hook = copy.deepcopy(HOOK)
    PruningHook(**{k: v for k, v in hook.items() if k != 'type'})
    assert hook == HOOK
    logging.getLogger('mmengine').setLevel(logging.WARNING)
