"""Times of whole networks: at several widths, and pruned against unpruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from torch import Tensor, nn

from adasap_det.pruning.budgets.cost import num_proposals
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.tracing import trace_forward
from adasap_det.pruning.surgery import prune_selected
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.timing import time_calls

from .grid import VECTOR
from .latency_cost import SELECTED_WEIGHT

WIDTHS = (1.0, 0.75, 0.5, 0.25)
MIXED = 3
"""Networks with a random width per group, measured beside those of equal widths."""


@dataclass(frozen=True)
class Forward:
    """How a network is timed.

    Attributes:
        example_inputs: One image, shape ``(1, 3, H, W)``, or what else the network takes.
        batch_size: Images at a time.
        dtype: Of the forward pass.
        device: Where.
    """

    example_inputs: Tensor
    batch_size: int
    dtype: torch.dtype
    device: torch.device

    def time(self, networks: Sequence[nn.Module], *, seconds: float) -> list[float]:
        """Median milliseconds of each network; they take turns."""
        inputs = self.example_inputs.to(device=self.device, dtype=self.dtype)
        inputs = inputs.expand(self.batch_size, *inputs.shape[1:]).contiguous()
        calls = {}
        for index, network in enumerate(networks):
            network.to(device=self.device, dtype=self.dtype).eval()
            calls[str(index)] = partial(
                trace_forward, network, inputs, num_rois=num_proposals(network)
            )
        times = time_calls(calls, device=self.device, seconds=seconds, most=40)
        return list(times.values())


class WidthSeries:
    """A network at several widths, whose times show the overhead beside the layers' own times.

    Attributes:
        kept: Channels of each group in each network, the first of them unpruned.
        weights: How much each counts.
    """

    def __init__(self, model: nn.Module, groups: Sequence[ChannelGroup]) -> None:
        self._model, self._groups = model, groups
        random = Random(0)
        ratios = [{g.name: width for g in groups} for width in WIDTHS]
        ratios += [{g.name: random.choice(WIDTHS) for g in groups} for _ in range(MIXED)]
        self._channels = [{g.name: _narrow(g, ratio[g.name]) for g in groups} for ratio in ratios]
        self.kept = [{n: len(channels) for n, channels in kept.items()} for kept in self._channels]
        self.weights = [SELECTED_WEIGHT] + [1.0] * (len(ratios) - 1)

    def time(self, forward: Forward) -> list[float]:
        """Milliseconds of each network."""
        networks = [pruned_copy(self._model, self._groups, channels) for channels in self._channels]
        return forward.time(networks, seconds=5.0)


def time_left(
    model: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor], forward: Forward
) -> float:
    """Time of ``model`` pruned to ``kept``, divided by its present time; both take turns."""
    networks = [copy_unwrapped(model), pruned_copy(model, groups, kept)]
    before, after = forward.time(networks, seconds=3.0)
    return after / before


def pruned_copy(
    model: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A copy of a model with fewer channels, and without the blocks that ``kept`` leaves out."""
    network = copy_unwrapped(model)
    prune_selected(network, groups, kept)
    return network


def _narrow(group: ChannelGroup, ratio: float) -> Tensor:
    """Indices of a ratio of the channels of each part, a multiple of the vector width."""
    part = group.size // group.parts
    step = VECTOR if part >= 2 * VECTOR else 1
    count = part if ratio == 1 else max(step, int(part * ratio) // step * step)
    channels = torch.arange(group.size)
    return channels[channels % part < count]
