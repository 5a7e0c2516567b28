"""Checkpoints that carry the structure of a pruned model, and models that take it from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner
from torch import nn

from adasap_det.checkpoint.log_history import restore_history, to_plain_history
from adasap_det.checkpoint.structure import (
    META_KEY,
    check_shapes,
    describe,
    mark_pruned,
    pruned_dims,
    shrink,
)
from adasap_det.utils.modules import unwrap


@HOOKS.register_module()
class StructureHook(Hook):
    """Writes the structure into checkpoints, and shrinks the model before weights are loaded.

    A checkpoint stays an ordinary MMEngine one: a state dict, with smaller tensors where channels
    were cut, and plain data under ``meta['adasap_det']``. It loads with
    ``torch.load(..., weights_only=True)``. One of which nothing was cut loads as any other, also
    into a model with other outputs; of a pruned one the tensors that lost no channels do.

    Takes priority over EMAHook, whose averaged copy has to shrink before it is loaded.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self) -> None:
        self.kept: dict[str, list[int]] = {}
        self.dense_channels: dict[str, int] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = bare_model(runner)
        checkpoint['meta'][META_KEY] = describe(
            model, kept=self.kept, dense_channels=self.dense_channels
        )
        cut = pruned_dims(model)
        if cut:
            mark_pruned(checkpoint['state_dict'], cut=cut)
        checkpoint['message_hub'] = to_plain_history(checkpoint['message_hub'])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = restore_history(checkpoint['message_hub'])
        structure = checkpoint.get('meta', {}).get(META_KEY)
        if structure is None:
            return
        self.kept = {name: list(channels) for name, channels in structure['kept'].items()}
        self.dense_channels = dict(structure['dense_channels'])
        self.shrink_all(runner, structure)
        if _evaluates(runner):
            check_shapes(bare_model(runner), structure['shapes'])

    def shrink_all(self, runner: Runner, structure: Mapping[str, Any]) -> None:
        """Shrink the model and its averaged copies, and put DDP around it anew."""
        model = bare_model(runner)
        shapes, cut = structure['shapes'], structure.get('cut')
        if not shrink(model, shapes, cut=cut):
            return
        for averaged in averaged_models(runner):
            shrink(averaged, shapes, cut=cut)
        rewrap(runner)
        print_log(
            f'Model shrunk to the pruned structure of the checkpoint: '
            f'{sum(p.numel() for p in model.parameters()):,} parameters',
            logger='current',
            level=logging.INFO,
        )


def bare_model(runner: Runner) -> nn.Module:
    """The runner's model without its DDP wrapper."""
    return unwrap(runner.model)


def _evaluates(runner: Runner) -> bool:
    """Whether the runner does not train; no output layer must be random then."""
    return not isinstance(runner._train_loop, BaseLoop)


def averaged_models(runner: Runner) -> list[nn.Module]:
    """Copies of the model that EMA hooks keep."""
    copies = []
    for hook in runner.hooks:
        averaged = getattr(hook, 'ema_model', None) if isinstance(hook, EMAHook) else None
        if averaged is not None:
            copies.append(averaged.module)
    return copies


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
