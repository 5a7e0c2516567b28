"""Pruning while DDP trains, on two processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

SCRIPT = """
import os
import sys
import torch
import adasap_det
from adasap_det.cli.usage import leave_process_group
from mmengine.runner import Runner
from tests.helpers.training_runs import tiny_config

torch.cuda.set_device = lambda index: None  # MMEngine calls it for every backend
folder, resume = sys.argv[1], '--resume' in sys.argv
rank = os.environ['RANK']
cfg = tiny_config(os.path.join(folder, 'run'), resume=resume)
cfg.launcher = 'pytorch'
cfg.env_cfg = dict(dist_cfg=dict(backend='gloo'))
# MMEngine's default wrapper is for one GPU a process.
cfg.model_wrapper_cfg = dict(
    type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
cfg.default_hooks.sampler_seed = dict(type='DistSamplerSeedHook')
if '--latency' in sys.argv:
    table = f'{folder}/table{sys.argv[-1]}.json'
    cfg.custom_hooks[1]['budget'] = dict(type='LatencyBudget', keep_ratio=0.7, table=table)
    from adasap_det.pruning.budgets.latency import table as table_file
    from tests.helpers.known_times import install

    install()
    if rank != '0':  # must not be asked
        del table_file._time
if '--differ' in sys.argv and rank != '0':
    from adasap_det.pruning import ParamsBudget, select_channels

    def other(groups, scores, *args, **kwargs):
        return select_channels(groups, [-score for score in scores], *args, **kwargs)

    ParamsBudget.select = staticmethod(other)
drawn = []
if '--elastic' in sys.argv:
    cfg.custom_hooks[1].update(
        importance=dict(type='TaylorImportance'), elastic=dict(), prune_steps=0)
    if '--one-pass' in sys.argv:
        cfg.custom_hooks[1].update(perturbation_before_pruning='plain')
    from adasap_det.hooks.elastic_stage import ElasticStage
    begin_pass = ElasticStage.begin_pass

    def recorded(self, *args, **kwargs):
        drawn.append(begin_pass(self, *args, **kwargs))
        return drawn[-1]

    ElasticStage.begin_pass = recorded
if resume:
    cfg.load_from = os.path.join(cfg.work_dir, 'epoch_3.pth')
runner = Runner.from_cfg(cfg)
runner.train()
name = 'resumed' if resume else 'rank'
torch.save(drawn, f'{folder}/drawn{runner.rank}.pth')
torch.save(runner.model.module.state_dict(), f'{folder}/{name}{runner.rank}.pth')
del runner
leave_process_group()
"""


def launch(folder: Path, *arguments: str) -> None:
    script = folder / 'script.py'
    script.write_text(SCRIPT)
    root = Path(__file__).parents[2]
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    command += [str(script), str(folder), *arguments]
    done = subprocess.run(
        command,
        cwd=root,
        env={'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1', 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_ranks_prune_alike_and_stay_synchronized(tmp_path):
    launch(tmp_path)
    first = torch.load(tmp_path / 'rank0.pth')
    second = torch.load(tmp_path / 'rank1.pth')
    assert sum(t.numel() for t in first.values()) < 2000  # of 3,188 in the dense network
    for name, tensor in first.items():
        if 'running' not in name:  # batch norm's statistics are each rank's own
            assert torch.equal(tensor, second[name]), name
    # A run resumed right before the last prune step ends in the same weights.
    launch(tmp_path, '--resume')
    resumed = torch.load(tmp_path / 'resumed0.pth')
    for name, tensor in first.items():
        assert torch.equal(tensor, resumed[name]), name


def test_rank_0_selects_channels_for_all(tmp_path):
    """A solver with a time limit may stop at a different solution on each rank."""
    launch(tmp_path, '--differ')
    first = torch.load(tmp_path / 'rank0.pth')
    second = torch.load(tmp_path / 'rank1.pth')
    assert sum(t.numel() for t in first.values()) < 2000
    for name, tensor in first.items():
        if 'running' not in name:
            assert torch.equal(tensor, second[name]), name


def test_rank_0_measures_latency_for_all(tmp_path):
    """Two ranks with their own measurements would prune differently."""
    launch(tmp_path, '--latency', 'kept')
    first = torch.load(tmp_path / 'rank0.pth')
    second = torch.load(tmp_path / 'rank1.pth')
    assert sum(t.numel() for t in first.values()) < 3188
    assert {n: t.shape for n, t in first.items()} == {n: t.shape for n, t in second.items()}
    assert [path.name for path in tmp_path.glob('*.json')] == ['tablekept.json']


def test_ranks_draw_sizes_half_of_the_range_apart_and_stay_synchronized(tmp_path):
    launch(tmp_path, '--elastic')
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in (0, 1))
    for name, tensor in first.items():
        assert 'running' in name or torch.equal(second[name], tensor), name
    drawn = [torch.load(tmp_path / f'drawn{rank}.pth') for rank in (0, 1)]
    pairs = [pair for pair in zip(*drawn, strict=True) if max(pair) < 1]
    assert len(pairs) > 5
    # Places of the two are 0.5 apart, and 0.75 of them are for 0.8 of the cost.
    for one, other in pairs:
        assert abs(one - other) == pytest.approx(0.5 / 0.75 * 0.8)


def test_ranks_have_one_size_where_a_step_has_one_pass(tmp_path):
    """Importance is observed, and averaged, in steps with the whole network on all ranks."""
    launch(tmp_path, '--elastic', '--one-pass')
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in (0, 1))
    for name, tensor in first.items():
        assert 'running' in name or torch.equal(second[name], tensor), name
    drawn = [torch.load(tmp_path / f'drawn{rank}.pth') for rank in (0, 1)]
    assert drawn[0] == drawn[1]
    assert 0 < drawn[0].count(1.0) < len(drawn[0])
