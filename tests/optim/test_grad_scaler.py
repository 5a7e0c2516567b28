"""Step hooks under a gradient scaler, with fused and unfused optimizers."""

import pytest
import torch
from mmengine.hooks import Hook

from adasap_det.optim.grad_scaler import step_is_taken, unscaled_gradients

from ..helpers.training_runs import HOOK, WRAPPER, tiny_config
from ..hooks.test_pruning_hook import run_with
from .conftest import CPUScaler


def what_a_hook_sees(factor, *, fused, unscale_first=False):
    """Verdict and gradient in hooks of a step with gradient ``3 * factor``, and the gradient there.

    Also the weight after it, from 1 at a learning rate of 0.25.
    """
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.25, fused=fused)
    seen = []

    def look(optimizer, args, kwargs):
        raw = weight.grad
        with unscaled_gradients(optimizer):
            seen.append((step_is_taken(optimizer), weight.grad.item()))
        assert weight.grad is raw

    optimizer.register_step_pre_hook(look)
    scaler = CPUScaler(init_scale=8.0)
    scaler.scale((3 * factor * weight).sum()).backward()
    if unscale_first:  # as clipping does
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    return seen, weight.item()


@pytest.mark.parametrize('unscale_first', [False, True])
@pytest.mark.parametrize('fused', [False, True])
def test_hooks_see_unscaled_gradients_and_step_is_unchanged(fused, unscale_first):
    seen, weight = what_a_hook_sees(1.0, fused=fused, unscale_first=unscale_first)
    assert seen == [(True, 3.0)]
    assert weight == 0.25


@pytest.mark.parametrize('unscale_first', [False, True])
def test_only_hooks_of_fused_optimizers_see_overflow(unscale_first):
    infinite = float('inf')
    seen, weight = what_a_hook_sees(infinite, fused=True, unscale_first=unscale_first)
    assert seen == [(False, infinite)]
    assert weight == 1.0
    assert what_a_hook_sees(infinite, fused=False, unscale_first=unscale_first) == ([], 1.0)


def test_without_a_scaler_gradients_are_not_copied():
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.25)
    grad = weight.grad = torch.ones(1)
    assert step_is_taken(optimizer)
    with unscaled_gradients(optimizer):
        assert weight.grad is grad


class Overflow(Hook):
    """Makes the gradients of one iteration infinite."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 4:
            self.handle = runner.model.bn.weight.register_hook(lambda grad: grad * float('inf'))
        if runner.iter == 5:
            self.handle.remove()


def test_fused_and_unfused_optimizers_observe_equal_importance(on_cpu, tmp_path):
    runs = []
    for fused in (True, False):
        cfg = tiny_config(
            tmp_path / str(fused),
            optim_wrapper=WRAPPER
            | dict(
                type='AmpAdaSAPOptimWrapper',
                optimizer=dict(type='SGD', lr=0.05, momentum=0.9, fused=fused),
                loss_scale=dict(init_scale=2.0**16),
            ),
            custom_hooks=[HOOK | dict(importance=dict(type='TaylorImportance'))],
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=4),
        )
        runs.append(run_with(cfg, Overflow()))
    sizes = [
        torch.tensor(run.message_hub.log_scalars['train/perturbation_norm'].data[0]) for run in runs
    ]
    assert len(sizes[0]) == 24
    torch.testing.assert_close(sizes[0], sizes[1], rtol=1e-4, atol=0)
