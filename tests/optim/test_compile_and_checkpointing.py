"""Models that torch compiles, or that recompute activations in the backward pass."""

import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn
from torch.utils.checkpoint import checkpoint

from adasap_det.optim import AdaSAPOptimWrapper

from ..helpers.toy import ToyDetector
from ..helpers.training_runs import HOOK, tiny_config
from ..helpers.training_runs import train as run_training
from .test_optim_wrapper import assert_same, sgd, toy, train


@pytest.mark.slow
@pytest.mark.parametrize('what', ['submodule', 'forward', 'whole model'])
def test_compiled_model_takes_the_same_steps(what):
    actual, expected = toy(dropout=0.0), toy(dropout=0.0)
    compiled = actual
    if what == 'submodule':
        actual.inner.compile(backend='eager')
    elif what == 'forward':
        actual.compile(backend='eager')
    else:
        compiled = torch.compile(actual, backend='eager')
    train(compiled, AdaSAPOptimWrapper(optimizer=sgd(actual), rho=0.75))
    train(expected, AdaSAPOptimWrapper(optimizer=sgd(expected), rho=0.75))
    assert_same(actual, expected, rtol=1e-12)


@pytest.mark.slow
def test_mmengine_compile_option_with_all_stages_and_prune_steps(tmp_path):
    hook = HOOK | dict(by_epoch=False, prune_begin=3, prune_steps=1)
    short = dict(
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=6),
        custom_hooks=[dict(type='RandomStateHook'), hook],
    )
    plain = run_training(tiny_config(tmp_path / 'plain', **short))
    compiled = run_training(
        tiny_config(tmp_path / 'compiled', compile=dict(backend='eager'), **short)
    )
    assert sum(p.numel() for p in compiled.model.parameters()) < 2000
    assert_same(compiled.model, plain.model, rtol=1e-4)


class Recomputing(ToyDetector):
    """The toy whose first half recomputes its activations in the backward pass."""

    with_cp = True  # as OpenMMLab's backbones call it

    def __init__(self, *, reentrant):
        super().__init__()
        self.reentrant = reentrant

    def forward(self, inputs, targets=None, mode='tensor'):
        inputs = inputs.detach().requires_grad_(True)  # as the reentrant variant asks for
        x = checkpoint(self.first_half, inputs, use_reentrant=self.reentrant)
        x = self.joint_bn(torch.cat([self.left(x), self.right(x)], dim=1)).relu()
        x = self.out(self.dropout(x))
        off = x.mean((2, 3)) - targets
        return {'loss_fit': off.square().mean(), 'loss_sum': x.sum((1, 2, 3)).tanh().mean()}

    def first_half(self, inputs):
        x = self.stem_bn(self.stem(inputs)).relu()
        x = x + self.dropout(self.back(self.inner(x).relu()))
        return self.depth(x).relu()


class Storing(Recomputing):
    def forward(self, inputs, targets=None, mode='tensor'):
        x = self.first_half(inputs)
        x = self.joint_bn(torch.cat([self.left(x), self.right(x)], dim=1)).relu()
        x = self.out(self.dropout(x))
        off = x.mean((2, 3)) - targets
        return {'loss_fit': off.square().mean(), 'loss_sum': x.sum((1, 2, 3)).tanh().mean()}


@pytest.mark.parametrize('reentrant', [False, True])
@pytest.mark.parametrize('options', [{}, {'interval': 2}, {'layers': 'norm'}])
def test_activation_checkpointing_takes_the_same_steps(reentrant, options):
    models = []
    for kind in (Recomputing, Storing):
        torch.manual_seed(0)
        model = kind(reentrant=reentrant).double().train()
        wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), rho=0.75, **options)
        models.append(train(model, wrapper))
    for (name, p), q in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12, msg=name)


class Halves(ToyDetector):
    """The toy with its first half a module, called with a tensor that takes a gradient."""

    def __init__(self):
        super().__init__(dropout=0.0)
        self.first = nn.Sequential(self.stem, self.stem_bn, nn.ReLU(), self.depth)

    def forward(self, inputs, targets=None, mode='tensor'):
        x = self.first(inputs.detach().requires_grad_(True))
        x = self.out(self.joint_bn(torch.cat([self.left(x), self.right(x)], dim=1)).relu())
        return {'loss': (x.mean((2, 3)) - targets).square().mean()}


@pytest.mark.filterwarnings('ignore:.*use_reentrant parameter should be passed')
@pytest.mark.parametrize('options', [{'layers': 'norm'}, {'exclude': ['left.*']}])
def test_mmengine_activation_checkpointing_takes_the_same_steps(options):
    models = []
    for recompute in (True, False):
        torch.manual_seed(0)
        model = Halves().double().train()
        if recompute:
            turn_on_activation_checkpointing(model, 'first')
        models.append(train(model, AdaSAPOptimWrapper(optimizer=sgd(model), rho=0.75, **options)))
    for (name, p), q in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12, msg=name)
