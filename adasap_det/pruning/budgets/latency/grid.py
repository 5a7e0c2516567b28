"""Times of one kind of layer over its numbers of channels."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATIOS = (1.0, 0.75, 0.5, 0.25, 0.125)
"""Of a layer's channels, those numbers that are measured; between them times are interpolated."""

VECTOR = 8
"""Kernels work on so many channels at a time; only multiples are measured where there are more."""


@dataclass(frozen=True)
class Grid:
    """Milliseconds at some numbers of input and output channels.

    Attributes:
        inputs: Numbers of input channels, ascending.
        outputs: Numbers of output channels, ascending; ``(1,)`` for depthwise convolutions.
        ms: Row by ``inputs``, column by ``outputs``.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ms: tuple[tuple[float, ...], ...]

    def covers(self, inputs: Sequence[int], outputs: Sequence[int]) -> bool:
        """Whether the grid reaches as far up as all these numbers, and was measured below."""
        return all(
            own[-1] >= max(wanted) and (len(own) > 1 or set(wanted) == set(own))
            for own, wanted in ((self.inputs, inputs), (self.outputs, outputs))
        )

    def at(self, inputs: float, outputs: float) -> float:
        """Bilinear between the points; below the least as at the least."""
        row, low = _between(self.inputs, inputs)
        column, left = _between(self.outputs, outputs)
        value = 0.0
        for i, wi in ((row, 1 - low), (row + 1, low)):
            for j, wj in ((column, 1 - left), (column + 1, left)):
                if wi and wj:
                    value += wi * wj * self.ms[i][j]
        return value


def monotone(ms: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Times that never fall with more channels: the middle of the envelopes above and below."""
    times = np.asarray(ms, dtype=float)
    above, below = times, times
    for axis in (0, 1):
        above = np.maximum.accumulate(above, axis=axis)
        below = np.flip(np.minimum.accumulate(np.flip(below, axis), axis=axis), axis)
    return tuple(map(tuple, ((above + below) / 2).tolist()))


def points(channels: int, *, prunable: bool, multiple: int = 1) -> tuple[int, ...]:
    """Numbers of channels to measure, ascending.

    Args:
        channels: Those of the layer.
        prunable: Whether they can become fewer.
        multiple: What they are multiples of, for grouped convolutions.
    """
    if not prunable:
        return (channels,)
    step = math.lcm(multiple, VECTOR if channels >= 2 * VECTOR else 1)
    rounded = {min(channels, math.ceil(channels * ratio / step) * step) for ratio in RATIOS}
    return tuple(sorted(rounded))


def _between(numbers: Sequence[int], value: float) -> tuple[int, float]:
    """Index of the point at or below a value, and the way to the next."""
    if value <= numbers[0]:
        return 0, 0.0
    if value >= numbers[-1]:
        return len(numbers) - 1, 0.0
    index = bisect.bisect_right(numbers, value) - 1
    below, above = numbers[index], numbers[index + 1]
    return index, (value - below) / (above - below)
