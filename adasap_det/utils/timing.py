"""Time calls and networks on a machine with other load."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from torch import nn

from adasap_det.utils.modules import eval_mode


def time_calls(
    calls: Mapping[str, Callable[[], object]],
    *,
    device: torch.device,
    warm_up: int = 2,
    rounds: int = 4,
    seconds: float = 0.02,
    most: int = 200,
    quantile: float = 0.5,
) -> dict[str, float]:
    """Median time (or another quantile) of each call, in milliseconds.

    The calls are interleaved, so that other load on the machine slows all of them alike.

    Args:
        calls: Functions to time, by name.
        device: A GPU is synchronised before and after each call.
        warm_up: Untimed calls of each function.
        rounds: Least number of timed rounds over all functions.
        seconds: Least duration of the timed rounds.
        most: Greatest number of rounds, also if ``seconds`` have not passed.
        quantile: Quantile to report; a low one excludes most of the other load.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    # Hold the last results: a layer timed alone would return its memory to the system after each
    # call and allocate it again, which takes longer than many layers. Networks reuse memory.
    held: deque[object] = deque(maxlen=3)
    with torch.inference_mode():
        for call in calls.values():
            for _ in range(warm_up):
                held.append(call())
        begin = time.perf_counter()
        done = 0
        while done < rounds or (time.perf_counter() - begin < seconds and done < most):
            for name, call in calls.items():
                _wait(device)
                start = time.perf_counter()
                result = call()
                _wait(device)
                times[name].append(1e3 * (time.perf_counter() - start))
                held.append(result)
            done += 1
    return {name: float(np.quantile(values, quantile)) for name, values in times.items()}


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def measure_latency(
    models: Mapping[str, nn.Module],
    *,
    input_size: tuple[int, int],
    rounds: int = 100,
    warm_up: int = 5,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Median time of each network on one image, without pre- and post-processing.

    The models are interleaved, so that other load on the machine slows all of them alike.

    Args:
        models: Detectors by name.
        input_size: Height and width of the image.
        rounds: Timed passes of each model.
        warm_up: Untimed passes of each model before.
        device: Where the models are; by default the CPU.

    Returns:
        Milliseconds by name.

    Raises:
        ValueError: If ``rounds`` is not positive.
    """
    if rounds < 1:
        raise ValueError(f'rounds is {rounds}; time at least one pass')
    image = torch.randn(1, 3, *input_size, generator=torch.Generator().manual_seed(0)).to(device)
    calls = {name: partial(model, image, mode='tensor') for name, model in models.items()}
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(eval_mode(model))
        return time_calls(calls, device=image.device, warm_up=warm_up, rounds=rounds, seconds=0)
