"""Time of a forward pass, measured fairly on a machine that does other things too."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

import torch
from torch import nn

from adasap_det.pruning.latency.timing import time_calls
from adasap_det.pruning.tracing import eval_mode


def measure_latency(
    models: Mapping[str, nn.Module],
    *,
    input_size: tuple[int, int],
    rounds: int = 100,
    warm_up: int = 5,
) -> dict[str, float]:
    """Median time of the network on one picture, without pre- and post-processing.

    The models take turns, so that whatever else the machine does slows all of them alike.

    Args:
        models: Detectors by name, on the CPU.
        input_size: Height and width of the picture.
        rounds: Timed passes of each model.
        warm_up: Passes of each model before that.

    Returns:
        Milliseconds by name.

    Raises:
        ValueError: If ``rounds`` is not positive.
    """
    if rounds < 1:
        raise ValueError(f'rounds is {rounds}; time at least one pass')
    picture = torch.randn(1, 3, *input_size, generator=torch.Generator().manual_seed(0))
    calls = {name: partial(model, picture, mode='tensor') for name, model in models.items()}
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(eval_mode(model))
        return time_calls(calls, device=picture.device, warm_up=warm_up, rounds=rounds, seconds=0)
