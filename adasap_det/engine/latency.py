"""Time of a forward pass, measured fairly on a machine that does other things too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import torch
from torch import nn


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
    times: dict[str, list[float]] = {name: [] for name in models}
    training = {name: model.training for name, model in models.items()}
    for model in models.values():
        model.eval()
    with torch.inference_mode():
        for i in range(warm_up + rounds):
            for name, model in models.items():
                start = time.perf_counter()
                model(picture, mode='tensor')
                if i >= warm_up:
                    times[name].append(1e3 * (time.perf_counter() - start))
    for name, model in models.items():
        model.train(training[name])
    return {name: statistics.median(values) for name, values in times.items()}
