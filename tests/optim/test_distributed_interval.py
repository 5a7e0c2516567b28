"""``interval`` on two processes: the reused direction is that of all ranks, not of each."""

import pytest
import torch

from ..helpers.ddp_worker import STEPS, build, rank_batch
from .test_distributed import gradients, mean, run_ranks
from .test_optim_wrapper import asam_direction, sgd

pytestmark = pytest.mark.slow
INTERVAL, ALPHA = 2, 0.7


def flat(grads):
    return torch.cat([grad.flatten() for grad in grads.values()])


def in_one_process(world, *, sync_perturbation, side=False):
    """Reference LookSAM, with one model per rank."""
    models = [build(side=side) for _ in range(world)]
    optimizers = [sgd(model) for model in models]
    for step in range(STEPS):
        batches = [rank_batch(rank, step, side=side) for rank in range(world)]
        plain = [gradients(m, b) for m, b in zip(models, batches, strict=True)]
        final = mean(plain)
        if step % INTERVAL == 0:
            ascent = [final] * world if sync_perturbation else plain
            found = []
            for model, batch, direction in zip(models, batches, ascent, strict=True):
                moved = build(side=side)
                moved.load_state_dict(model.state_dict())
                weights = dict(moved.named_parameters())
                for name, w in weights.items():
                    w.grad = direction[name]
                with torch.no_grad():
                    for name, eps in asam_direction(weights, 0.75).items():
                        weights[name] += eps
                found.append(gradients(moved, batch))
            g, final = flat(final), mean(found)
            g_v = flat(final) - (flat(final) @ g / g.norm() ** 2) * g
        else:
            mixed = flat(final) + ALPHA * flat(final).norm() / g_v.norm() * g_v
            parts = mixed.split([grad.numel() for grad in final.values()])
            final = {
                name: part.view_as(grad)
                for (name, grad), part in zip(final.items(), parts, strict=True)
            }
        for model, optimizer in zip(models, optimizers, strict=True):
            for name, w in model.named_parameters():
                w.grad = final[name].clone()
            optimizer.step()
    return models


@pytest.mark.parametrize('sync_perturbation', [False, True])
@pytest.mark.parametrize('side', [False, True])
def test_ranks_match_single_process_loop(tmp_path, sync_perturbation, side):
    options = dict(sync_perturbation=sync_perturbation, side=side)
    ranks = run_ranks(str(tmp_path), 2, interval=INTERVAL, **options)
    (expected, _) = in_one_process(2, **options)
    for name, w in expected.named_parameters():
        assert torch.equal(ranks[0]['model'][name], ranks[1]['model'][name]), name
        torch.testing.assert_close(
            ranks[0]['model'][name], w.detach(), rtol=1e-9, atol=1e-12, msg=name
        )


def test_rank_without_perturbed_gradients(tmp_path):
    """Only the first rank perturbs; both reuse its direction."""
    others = [name for name, child in build().named_children() if [*child.parameters()]]
    ranks = run_ranks(str(tmp_path), 2, interval=INTERVAL, side=True, exclude=others)
    assert ranks[0]['perturbations'][0].any()
    assert not ranks[1]['perturbations'][0].any()
    for name, w in ranks[0]['model'].items():
        if 'running' not in name:
            assert torch.equal(w, ranks[1]['model'][name]), name
