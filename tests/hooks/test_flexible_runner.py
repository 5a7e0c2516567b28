"""PruningHook in MMEngine's FlexibleRunner, whose strategies build, wrap and load the model."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

from ..helpers.training_runs import HOOK, tiny_config, train


def flexible(work_dir, *, strategy=None, load_from=None, **hook):
    """Trained to the end."""
    cfg = tiny_config(
        work_dir,
        custom_hooks=[{'type': 'RandomStateHook'}, {**HOOK, **hook}],
        env_cfg={'dist_cfg': {'backend': 'gloo'}},
        resume=load_from is not None,
    )
    cfg.load_from = load_from
    cfg.strategy = strategy or {'type': 'SingleDeviceStrategy'}
    if strategy:
        cfg.launcher = 'pytorch'
        cfg.default_hooks.sampler_seed = {'type': 'DistSamplerSeedHook'}
    runner = FlexibleRunner.from_cfg(cfg)
    runner.train()
    return runner


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_trains_and_resumes_as_runner_does(tmp_path):
    plain = train(tiny_config(tmp_path / 'plain'))
    assert type(plain) is Runner
    full = flexible(tmp_path / 'full')
    assert same(full.model, plain.model)
    resumed = flexible(tmp_path / 'resumed', load_from=str(tmp_path / 'full/epoch_3.pth'))
    assert same(resumed.model, plain.model)


def test_resumed_keep_ratio_refers_to_the_dense_model(tmp_path):
    # One channel of a group's sixteen may go, and one has gone in the checkpoint.
    budget = {'budget': {'type': 'ParamsBudget', 'keep_ratio': 0.9}, 'min_keep_ratio': 15 / 16}
    full = flexible(tmp_path / 'full', **budget)
    checkpoint = str(tmp_path / 'full/epoch_5.pth')
    assert same(flexible(tmp_path / 'run', load_from=checkpoint, **budget).model, full.model)


def ranks(folder: Path) -> None:
    """What each rank of the test below does."""
    torch.cuda.set_device = lambda index: None  # MMEngine calls it for every backend
    ddp = {
        'type': 'DDPStrategy',
        'model_wrapper': {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'device_ids': None,
        },
    }
    full = flexible(folder / 'full', strategy=ddp)
    assert full.model is full.strategy.model
    checkpoint = str(folder / 'full/epoch_3.pth')  # before the last prune step
    resumed = flexible(folder / 'resumed', strategy=ddp, load_from=checkpoint)
    for name, runner in (('full', full), ('resumed', resumed)):
        weights = dict(runner.model.module.named_parameters())
        torch.save(weights, folder / f'{name}{runner.rank}.pth')


@pytest.mark.slow
def test_ranks_prune_alike(tmp_path):
    root = Path(__file__).parents[2]
    program = (
        'import pathlib, sys, adasap_det\n'
        'from adasap_det.cli.usage import leave_process_group\n'
        'from tests.hooks.test_flexible_runner import ranks\n'
        'ranks(pathlib.Path(sys.argv[1]))\n'
        'leave_process_group()\n'
    )
    (tmp_path / 'script.py').write_text(program)
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2')
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / 'script.py'), str(tmp_path)],
        env={'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1', 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, *others = (
        torch.load(tmp_path / f'{name}{rank}.pth') for name in ('full', 'resumed') for rank in '01'
    )
    assert sum(weight.numel() for weight in first.values()) < 1700  # of 3,188
    for weights in others:
        assert all(torch.equal(weights[name], first[name]) for name in first)
