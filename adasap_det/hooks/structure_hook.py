"""Checkpoints that carry the structure of a pruned model, and runs that take it over from them."""

from __future__ import annotations

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import BaseAveragedModel, is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.optim import Optimizer

from adasap_det.checkpoint.loading import load_structure
from adasap_det.checkpoint.log_history import restore_history, to_plain_history
from adasap_det.checkpoint.structure import META_KEY, describe
from adasap_det.pruning.surgery import drop_parameters
from adasap_det.utils.modules import unwrap


@HOOKS.register_module()
class StructureHook(Hook):
    """Writes the structure into checkpoints, and shrinks the model before weights are loaded.

    A checkpoint stays an ordinary MMEngine one: a state dict, with smaller tensors where channels
    were pruned, and plain data under ``meta['adasap_det']``. It loads with
    ``torch.load(..., weights_only=True)``. An unpruned one loads as any other, also into a model
    with other outputs; of a pruned one the tensors that lost no channels do.

    Takes priority over EMAHook, whose averaged copy has to shrink before it is loaded.
    """

    priority = 'ABOVE_NORMAL'

    _structure_loaded = False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta'][META_KEY] = describe(bare_model(runner))
        checkpoint['message_hub'] = to_plain_history(checkpoint['message_hub'])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = restore_history(checkpoint['message_hub'])
        model = bare_model(runner)
        # Without a training loop no output layer may stay as initialised.
        evaluates = not isinstance(runner._train_loop, BaseLoop)
        before = list(model.parameters())
        if load_structure(model, checkpoint, copies=averaged_models(runner), strict=evaluates):
            self._structure_loaded = True
            if not evaluates:  # of removed blocks, before the optimizer's state is loaded
                for optimizer in optimizers_of(runner):
                    drop_parameters(optimizer, before, model)
            renew_averages(runner)
            rewrap(runner)
            print_log(
                f'Model shrunk to the pruned structure of the checkpoint: '
                f'{sum(p.numel() for p in model.parameters()):,} parameters',
                logger='current',
            )


def bare_model(runner: Runner) -> nn.Module:
    """The runner's model without its DDP wrapper."""
    return unwrap(runner.model)


def optimizers_of(runner: Runner) -> list[Optimizer]:
    """The runner's optimizers, one for each wrapper of an OptimWrapperDict."""
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        return [child.optimizer for child in wrapper.values()]
    return [wrapper.optimizer]


def accumulative_counts(runner: Runner) -> int:
    """Micro-batches of one optimizer step."""
    return int(getattr(runner.optim_wrapper, '_accumulative_counts', 1))


def averaged_models(runner: Runner) -> list[nn.Module]:
    """Copies of the model that EMA hooks keep."""
    return [averaged.module for averaged in _averages(runner)]


def renew_averages(runner: Runner) -> None:
    """Let the averages of EMA hooks list their tensors anew: the old list has those removed."""
    for averaged in _averages(runner):
        averaged.avg_parameters = (
            averaged.module.state_dict()
            if averaged.update_buffers
            else dict(averaged.module.named_parameters())
        )


def _averages(runner: Runner) -> list[BaseAveragedModel]:
    found = (getattr(hook, 'ema_model', None) for hook in runner.hooks if isinstance(hook, EMAHook))
    return [averaged for averaged in found if averaged is not None]


def rewrap(runner: Runner) -> None:
    """Put a new DDP wrapper around a model whose parameters changed shape.

    DDP lays out its gradient buckets when it is built. Does nothing without a wrapper.
    """
    if not is_model_wrapper(runner.model):
        return
    model = runner.model.module
    strategy = getattr(runner, 'strategy', None)  # FlexibleRunner's, which holds the wrapper too
    # The old wrapper's hooks on the parameters must be gone before the new one sets its own.
    runner.model = model
    if strategy is not None:
        strategy.model = model
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    if strategy is not None:
        runner.model = strategy.model = strategy._wrap_model(model)
    else:
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)
