"""Two-pass steps on two processes, against loops written out in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from . import ddp_worker
from .ddp_worker import STEPS, build, rank_batch
from .test_optim_wrapper import asam_direction, assert_same, sgd, total_loss

pytestmark = pytest.mark.slow

WORLD = 2


def run_ranks(folder, **options):
    """What each rank saved."""
    root = Path(__file__).parents[2]
    env = os.environ | {'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}
    ranks = [
        subprocess.Popen(
            [sys.executable, ddp_worker.__file__, folder, str(r), str(WORLD), json.dumps(options)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for r in range(WORLD)
    ]
    try:
        for process in ranks:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output[-3000:]
    finally:
        for process in ranks:
            process.kill()
    return [torch.load(f'{folder}/rank{r}.pth') for r in range(WORLD)]


def gradients(model, batch):
    model.zero_grad()
    total_loss(model, batch).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def mean(grads):
    return {name: sum(g[name] for g in grads) / len(grads) for name in grads[0]}


def in_one_process(*, sync_perturbation=False, accumulative_counts=1):
    """One model a rank, side by side; their weights stay equal, their statistics need not."""
    models = [build() for _ in range(WORLD)]
    optimizers = [sgd(model) for model in models]
    sums = []
    for step in range(STEPS):
        batches = [rank_batch(rank, step) for rank in range(WORLD)]
        ascent = [gradients(m, b) for m, b in zip(models, batches, strict=True)]
        if sync_perturbation:
            ascent = [mean(ascent)] * WORLD
        for model, batch, direction in zip(models, batches, ascent, strict=True):
            weights = dict(model.named_parameters())
            dense = {name: w.detach().clone() for name, w in weights.items()}
            statistics = [b.clone() for b in model.buffers()]
            for name, w in weights.items():
                w.grad = direction[name]
            with torch.no_grad():
                for name, eps in asam_direction(weights, 0.75).items():
                    weights[name] += eps
            sums.append(gradients(model, batch))
            with torch.no_grad():
                for name, w in weights.items():
                    w.copy_(dense[name])
                for buffer, value in zip(model.buffers(), statistics, strict=True):
                    buffer.copy_(value)
        if (step + 1) % accumulative_counts == 0:
            final = mean(sums)
            sums = []
            for model, optimizer in zip(models, optimizers, strict=True):
                for name, w in model.named_parameters():
                    w.grad = final[name].clone()
                optimizer.step()
    return models


@pytest.mark.parametrize('accumulative_counts', [1, 2])
@pytest.mark.parametrize('sync_perturbation', [False, True])
def test_ranks_equal_a_loop_in_one_process(tmp_path, sync_perturbation, accumulative_counts):
    options = dict(sync_perturbation=sync_perturbation, accumulative_counts=accumulative_counts)
    ranks = run_ranks(str(tmp_path), **options)
    expected = in_one_process(**options)
    for rank, saved in enumerate(ranks):
        model = build()
        model.load_state_dict(saved['model'])
        assert_same(model, expected[rank], rtol=1e-9)
        assert saved['count'] == STEPS
    for name, _ in build().named_parameters():
        assert torch.equal(ranks[0]['model'][name], ranks[1]['model'][name]), name

    for mine, theirs in zip(*(saved['perturbations'] for saved in ranks), strict=True):
        assert mine.norm() > 0.01
        apart = (mine - theirs).norm() / mine.norm()
        assert apart == 0 if sync_perturbation else apart > 0.1
