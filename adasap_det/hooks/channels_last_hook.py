"""Train in the memory layout that convolutions prefer."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .structure_hook import bare_model, rewrap


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the convolutions' weights out channels last, and with them all that they compute.

    The results are the same up to rounding. What it gains depends on the device and the network:
    on CPUs most with depthwise convolutions, on GPUs with mixed precision. Pruning and checkpoints
    keep the layout.
    """

    # Before the pruning hook's own before_train, and after the weights have been loaded.
    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        bare_model(runner).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rewrap(runner)  # DDP's buckets have the layout that the parameters had
