"""Two-pass steps on two and three processes, against single-process reference loops."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ..helpers import ddp_worker
from ..helpers.ddp_worker import STEPS, build, rank_batch
from .test_optim_wrapper import asam_direction, assert_same, sgd, total_loss

pytestmark = pytest.mark.slow


def run_ranks(folder, world, **options):
    """What each rank saved."""
    root = Path(__file__).parents[2]
    env = os.environ | {'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}
    ranks = [
        subprocess.Popen(
            [sys.executable, ddp_worker.__file__, folder, str(r), str(world), json.dumps(options)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for r in range(world)
    ]
    try:
        for process in ranks:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output[-3000:]
    finally:
        for process in ranks:
            process.kill()
    return [torch.load(f'{folder}/rank{r}.pth') for r in range(world)]


def gradients(model, batch):
    model.zero_grad()
    total_loss(model, batch).backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def mean(grads):
    return {name: sum(g[name] for g in grads) / len(grads) for name in grads[0]}


def in_one_process(world, *, sync_perturbation=False, accumulative_counts=1, rho=0.75):
    """One model a rank, side by side; their weights stay equal, their statistics need not."""
    models = [build() for _ in range(world)]
    optimizers = [sgd(model) for model in models]
    sums = []
    for step in range(STEPS):
        batches = [rank_batch(rank, step) for rank in range(world)]
        ascent = [gradients(m, b) for m, b in zip(models, batches, strict=True)]
        if sync_perturbation:
            ascent = [mean(ascent)] * world
        for model, batch, direction in zip(models, batches, ascent, strict=True):
            weights = dict(model.named_parameters())
            dense = {name: w.detach().clone() for name, w in weights.items()}
            statistics = [b.clone() for b in model.buffers()]
            for name, w in weights.items():
                w.grad = direction[name]
            with torch.no_grad():
                for name, eps in asam_direction(weights, rho).items():
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


def check(ranks, expected, *, sync_perturbation):
    """Each rank has the weights and the statistics of its model in one process."""
    for model, saved in zip(expected, ranks, strict=True):
        reached = build()
        reached.load_state_dict(saved['model'])
        assert_same(reached, model, rtol=1e-9)
        assert saved['count'] == STEPS
    for saved in ranks[1:]:
        for name, _ in build().named_parameters():
            assert torch.equal(ranks[0]['model'][name], saved['model'][name]), name
        for mine, theirs in zip(ranks[0]['perturbations'], saved['perturbations'], strict=True):
            assert mine.norm() > 0.01
            apart = (mine - theirs).norm() / mine.norm()
            assert apart == 0 if sync_perturbation else apart > 0.1


@pytest.mark.parametrize(
    ('sync_perturbation', 'accumulative_counts', 'passes'),
    [
        (False, 1, [1, 2, 3, 4]),  # one all-reduce a step, as without a second pass
        (False, 2, [0, 1, 1, 2]),
        (True, 1, [2, 4, 6, 8]),
        (True, 2, [1, 3, 4, 6]),  # each micro-batch has its own ascent
    ],
)
def test_ranks_match_single_process_loop(tmp_path, sync_perturbation, accumulative_counts, passes):
    options = dict(sync_perturbation=sync_perturbation, accumulative_counts=accumulative_counts)
    ranks = run_ranks(str(tmp_path), 2, **options)
    check(ranks, in_one_process(2, **options), sync_perturbation=sync_perturbation)
    for saved in ranks:
        assert saved['passes'] == passes
        assert saved['buckets'] > passes[-1]
        assert saved['elements'] == passes[-1] * sum(p.numel() for p in build().parameters())


def test_three_ranks_with_an_unused_parameter(tmp_path):
    ranks = run_ranks(str(tmp_path), 3, sync_perturbation=True, unused=True)
    for saved in ranks:
        assert torch.equal(saved['model'].pop('unused'), torch.ones(3, dtype=torch.float64))
        assert saved['passes'] == [2, 4, 6, 8]
    check(ranks, in_one_process(3, sync_perturbation=True), sync_perturbation=True)


def test_ascent_on_a_part_of_each_ranks_batch(tmp_path):
    """On all of it, it is the step with two passes, with one all-reduce."""
    ranks = run_ranks(str(tmp_path), 2, ascent='subbatch', subbatch_ratio=1.0)
    expected = in_one_process(2)
    for saved, model in zip(ranks, expected, strict=True):
        reached = build()
        reached.load_state_dict(saved['model'])
        assert_same(reached, model, rtol=1e-9)
        assert saved['passes'] == [1, 2, 3, 4]
