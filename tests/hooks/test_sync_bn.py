"""Networks with SyncBatchNorm, which PyTorch lets train on GPUs alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from adasap_det.pruning import find_channel_groups, prune_channels
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.training_runs import TinyNet, tiny_config


def test_sync_bn_is_pruned_like_batch_norm():
    torch.manual_seed(0)
    plain = TinyNet()
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(TinyNet())
    synced.load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, 6, 6)
    outputs = []
    for model in (plain, synced):
        groups = find_channel_groups(model, example_image((6, 6))).groups
        prune_channels(model, groups, {group.name: torch.arange(0, 16, 2) for group in groups})
        outputs.append(model.eval()(image))
    assert isinstance(synced.bn, nn.SyncBatchNorm)
    assert synced.bn.num_features == 8
    assert torch.equal(*outputs)


def train_rank(folder: str) -> None:
    """What each rank of the test below does."""
    cfg = tiny_config(Path(folder, 'run'), sync_bn='torch', launcher='pytorch')
    cfg.default_hooks.sampler_seed = {'type': 'DistSamplerSeedHook'}
    runner = Runner.from_cfg(cfg)
    runner.train()
    model = runner.model.module
    assert isinstance(model.bn, nn.SyncBatchNorm)
    assert model.bn.num_features == model.stem.out_channels < 16
    torch.save(model.cpu().state_dict(), f'{folder}/rank{runner.rank}.pth')


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='SyncBatchNorm needs two GPUs')
def test_ranks_share_statistics_across_prune_steps(tmp_path):
    program = 'import sys, adasap_det, tests.hooks.test_sync_bn as t\nt.train_rank(sys.argv[1])\n'
    (tmp_path / 'script.py').write_text(program)
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2')
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / 'script.py'), str(tmp_path)],
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2))
    assert sum(tensor.numel() for tensor in first.values()) < 2000  # of 3,188
    for name, tensor in first.items():  # the running statistics too
        assert torch.equal(tensor, second[name]), name
