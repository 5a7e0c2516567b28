"""The wrapper combined with other MMEngine features, each against a reference loop."""

import copy

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIMIZERS
from mmengine.runner import Runner
from torch import nn

from adasap_det.optim import AdaSAPOptimWrapper

from ..helpers.training_runs import WRAPPER, tiny_config
from .test_optim_wrapper import (
    asam_direction,
    assert_same,
    sgd,
    textbook,
    toy,
    train,
)


@OPTIMIZERS.register_module(force=True)
class SignMomentum(torch.optim.Optimizer):
    """Lion (arXiv 2302.06675): steps by the sign of a momentum, a custom optimizer."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            first, second = group['betas']
            for p in group['params']:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state['exp_avg'] = torch.zeros_like(p)
                p.mul_(1 - group['lr'] * group['weight_decay'])
                p.sub_(torch.lerp(p.grad, state['exp_avg'], first).sign(), alpha=group['lr'])
                state['exp_avg'].lerp_(p.grad, 1 - second)


OPTIMIZER_CFGS = [
    dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    dict(type='Adam', lr=0.01, amsgrad=True, weight_decay=0.01),
    dict(type='AdamW', lr=0.01, weight_decay=0.05),
    dict(type='RMSprop', lr=0.01, momentum=0.9, weight_decay=0.01),
    dict(type='Adagrad', lr=0.01, weight_decay=0.01),
    dict(type='Adadelta', lr=1.0, weight_decay=0.01),
    dict(type='NAdam', lr=0.01, weight_decay=0.01),
    dict(type='SignMomentum', lr=0.001, weight_decay=0.1),
]
# A bias before a batch norm has rounding for a gradient, which some optimizers blow up.
PARAMWISE = dict(
    norm_decay_mult=0.0, bias_lr_mult=0.0, custom_keys={'stem': dict(lr_mult=0.1, decay_mult=2.0)}
)


@pytest.mark.parametrize('optimizer', OPTIMIZER_CFGS, ids=lambda cfg: cfg['type'])
@pytest.mark.parametrize('clip', [None, 0.1], ids=['unclipped', 'clipped'])
def test_optimizers_with_parameter_wise_options(optimizer, clip):
    """Its groups are those of the config; each step is the textbook's with the same groups."""
    actual, expected = toy(), toy()
    cfg = dict(optimizer=optimizer, paramwise_cfg=PARAMWISE)
    options = dict(type='AdaSAPOptimWrapper', rho=0.75)
    if clip:
        options['clip_grad'] = dict(max_norm=clip)
    wrapper = build_optim_wrapper(actual, copy.deepcopy(options | cfg))
    plain = build_optim_wrapper(expected, copy.deepcopy({'type': 'OptimWrapper', **cfg}))
    reference = plain.optimizer
    assert len({group['lr'] for group in reference.param_groups}) == 3
    train(actual, wrapper)
    textbook(
        expected, lambda weights: asam_direction(weights, 0.75), optimizer=reference, max_norm=clip
    )
    assert_same(actual, expected, rtol=1e-6)


class States(Hook):
    """Records the weights after every step."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(nn.utils.parameters_to_vector(runner.model.parameters()).detach())


SCHEDULERS = [
    dict(type='ConstantLR', factor=0.3, begin=0, end=3, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=30, by_epoch=False),
    dict(type='CosineRestartLR', periods=[4, 8, 30], restart_weights=[1, 0.5, 0.2], eta_min=1e-4,
         by_epoch=False),
    dict(type='ExponentialLR', gamma=0.9, by_epoch=False),
    dict(type='LinearLR', start_factor=0.01, begin=0, end=10, by_epoch=False),
    dict(type='MultiStepLR', milestones=[2, 4], by_epoch=True),
    dict(type='OneCycleLR', eta_max=0.1, total_steps=36, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-4, begin=0, end=36, by_epoch=False),
    dict(type='ReduceOnPlateauLR', monitor='accuracy', rule='greater', patience=0),
    dict(type='StepLR', step_size=2),
    dict(type='CosineAnnealingMomentum', T_max=30, eta_min=0.5, by_epoch=False),
]  # fmt: skip


class Rates(Hook):
    """Records learning rate and momentum of every iteration."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        group = runner.optim_wrapper.param_groups[0]
        self.seen.append((group['lr'], group['momentum']))


@pytest.mark.parametrize('scheduler', SCHEDULERS, ids=lambda cfg: cfg['type'])
def test_schedulers_give_the_same_rates_as_plain_training(tmp_path, scheduler):
    """All three stages and prune steps: a scheduler counts two passes as one step."""
    histories = []
    for kind in ('AdaSAPOptimWrapper', 'OptimWrapper'):
        wrapper = dict(type=kind, optimizer=WRAPPER['optimizer'])
        if kind == 'AdaSAPOptimWrapper':
            wrapper |= dict(rho=1e-6, rho_max=1e-6, rho_min=0.0)  # for the same accuracy
        cfg = tiny_config(tmp_path / kind, optim_wrapper=wrapper, param_scheduler=[scheduler])
        runner = Runner.from_cfg(cfg)
        rates = Rates()
        runner.register_hook(rates)
        runner.train()
        histories.append(rates.seen)
    assert len(histories[0]) == 36
    assert histories[0] == histories[1]
    assert len(set(histories[0])) > 1


def test_ema_averages_unperturbed_steps(tmp_path):
    """EMAHook sees one model a step, never the perturbed one; this run has no prune step."""
    hook = dict(type='EMAHook', momentum=0.25)
    cfg = tiny_config(
        tmp_path,
        custom_hooks=[dict(type='RandomStateHook'), hook],
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=5),
    )
    runner = Runner.from_cfg(cfg)
    start = nn.utils.parameters_to_vector(runner.model.parameters()).detach()
    states = States()
    runner.register_hook(states)
    runner.train()
    average = states.seen[0]  # the hook begins with the first step's weights
    for weights in states.seen[1:]:
        average = 0.75 * average + 0.25 * weights
    (ema,) = (h for h in runner.hooks if isinstance(h, EMAHook))
    found = nn.utils.parameters_to_vector(ema.ema_model.module.parameters()).detach()
    torch.testing.assert_close(found, average, rtol=1e-5, atol=1e-7)
    assert (average - start).norm() > 1e-3


class TwoParts(BaseModel):
    """A model that drives a wrapper for each of its halves in a train_step of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = toy(seed=1, dropout=0.0), toy(seed=2, dropout=0.0)

    def forward(self, inputs, targets, part, mode='loss'):
        return getattr(self, part)(inputs, targets, mode=mode)

    def train_step(self, data, optim_wrapper):
        for part in ('first', 'second'):
            wrapper = optim_wrapper[part]
            with wrapper.optim_context(self):
                losses = self(**data, part=part)
            loss, log = self.parse_losses(losses)
            wrapper.update_params(loss)
        return log


def test_optim_wrapper_dict_children_perturb_their_own_parameters():
    model = TwoParts()
    wrappers = OptimWrapperDict(
        first=AdaSAPOptimWrapper(optimizer=sgd(model.first), rho=0.75),
        second=OptimWrapper(optimizer=sgd(model.second)),
    )
    train(model, wrappers)
    expected = toy(seed=1, dropout=0.0), toy(seed=2, dropout=0.0)
    textbook(expected[0], lambda weights: asam_direction(weights, 0.75))
    train(expected[1], OptimWrapper(optimizer=sgd(expected[1])))
    assert_same(model.first, expected[0], rtol=1e-9)
    assert_same(model.second, expected[1], rtol=1e-9)
