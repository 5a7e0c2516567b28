"""The latency of a model: its layers' times out of a table, measured where they are missing."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import torch
from torch import nn

from ..channels import ChannelGroup
from ..cost import num_proposals
from ..sizes import Along, TensorSizes
from ..surgery import cut_channels
from ..tracing import example_input, trace_forward
from .cost import LatencyCost, LatencyTerm, Rest, fit_rest
from .grid import VECTOR, Grid, points
from .layers import LayerCall, layer_calls
from .table import LatencyTable, LayerRequest
from .timing import time_calls

WIDTHS = (1.0, 0.75, 0.5, 0.25)
MIXED = 3
"""Networks measured whole: of equal widths, and of a width by group drawn at random."""

Side = tuple[float, Along]


def latency_cost(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    table: LatencyTable,
    *,
    input_size: tuple[int, int],
    batch_size: int = 1,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    measure: bool = True,
    quiet: bool = False,
) -> LatencyCost:
    """Cost model of the latency; adds to ``table`` what it has to measure.

    Args:
        model: The model that ``groups`` were found in; it is not touched.
        groups: Its channel groups.
        table: Times of the device.
        input_size: Height and width in pixels.
        batch_size: Pictures at a time.
        dtype: Of the forward pass.
        device: Where to measure.
        measure: Whether what is missing may be measured.
        quiet: No progress bar.

    Raises:
        ValueError: If the table lacks a layer and must not measure it.
    """
    device = device or torch.device('cpu')
    calls = layer_calls(model, input_size=input_size, batch_size=batch_size, dtype=dtype)
    sizes = TensorSizes(model, groups)
    modules = dict(model.named_modules())
    requests = [_request(call, modules[call.name], sizes) for call in calls]
    network = _digest(calls)
    wholes = _Networks(model, groups, input_size, batch_size, dtype, device)
    if measure:
        # Before and after the layers: times minutes apart are not disturbed by the same thing.
        times = [wholes.time()] if network not in table.rest else []
        table.measure(requests, device=device, quiet=quiet)
        times += [wholes.time()] if network not in table.rest else []
    terms = []
    for call, request in zip(calls, requests, strict=True):
        grid = table.find(request.kind, request.inputs, request.outputs)
        if grid is None:
            raise ValueError(
                f'the latency table of {table.device["device"]} has no times of {call.name} '
                f'({request.kind.key}, {request.inputs[-1]} to {request.outputs[-1]} channels); '
                f'build it there with the same config, batch size and input size'
            )
        terms.append(_term(call, sizes, grid))
    if network not in table.rest:
        if not measure:
            raise ValueError(
                f'the latency table of {table.device["device"]} knows all layers of this network '
                f'but not the network; build it there with the same config'
            )
        layers = [LatencyCost(terms, kept, Rest()).layers_alone() for kept in wholes.kept]
        typical = [sum(visits) / len(visits) for visits in zip(*times, strict=True)]
        table.rest[network] = fit_rest(typical, layers)
    return LatencyCost(terms, sizes.full, table.rest[network])


def _request(call: LayerCall, module: Any, sizes: TensorSizes) -> LayerRequest:
    inputs, outputs = _sides(call, sizes)
    kind = call.kind
    count = module.in_features if kind.operator == 'linear' else module.in_channels
    produced = module.out_features if kind.operator == 'linear' else module.out_channels
    if kind.groups == 'depthwise':
        return LayerRequest(kind, points(produced, prunable=bool(outputs[1])), (1,))
    multiple = int(kind.groups)
    return LayerRequest(
        kind,
        points(count, prunable=bool(inputs[1]), multiple=multiple),
        points(produced, prunable=bool(outputs[1]), multiple=multiple),
    )


def _sides(call: LayerCall, sizes: TensorSizes) -> tuple[Side, Side]:
    """Input and output channels of a layer as functions of the groups."""
    first, second = sizes.dims(f'{call.name}.weight')[:2]
    inputs, outputs = (first, second) if 'transpose' in call.kind.operator else (second, first)
    groups = 1 if call.kind.groups == 'depthwise' else int(call.kind.groups)
    if groups > 1:  # filters see one group only; the table counts all inputs
        if 'transpose' in call.kind.operator:
            outputs = outputs[0] * groups, tuple((n, c * groups) for n, c in outputs[1])
        else:
            inputs = inputs[0] * groups, tuple((n, c * groups) for n, c in inputs[1])
    return inputs, outputs


def _term(call: LayerCall, sizes: TensorSizes, grid: Grid) -> LatencyTerm:
    inputs, outputs = _sides(call, sizes)
    depthwise = call.kind.groups == 'depthwise'
    kernel = math.prod(call.kind.kernel) / (1 if depthwise else int(call.kind.groups))
    return LatencyTerm(call.name, grid, inputs, outputs, depthwise, call.outputs, kernel)


def _digest(calls: Sequence[LayerCall]) -> str:
    """A network, whatever its numbers of channels."""
    text = '\n'.join(f'{call.name} {call.kind.key}' for call in calls)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Networks:
    """A network at several widths, to see what the layers' own times leave of a whole."""

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        input_size: tuple[int, int],
        batch_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._model, self._groups = model, groups
        self._picture = (input_size, batch_size, dtype, device)
        random = Random(0)
        shares = [{g.name: width for g in groups} for width in WIDTHS]
        shares += [{g.name: random.choice(WIDTHS) for g in groups} for _ in range(MIXED)]
        self._channels = [{g.name: _narrow(g, share[g.name]) for g in groups} for share in shares]
        self.kept = [{n: len(channels) for n, channels in cut.items()} for cut in self._channels]

    def time(self) -> list[float]:
        """Median milliseconds of each, in turns: what a user will measure."""
        input_size, batch_size, dtype, device = self._picture
        picture = example_input(self._model, input_size).to(device=device, dtype=dtype)
        picture = picture.expand(batch_size, -1, -1, -1).contiguous()
        rois = num_proposals(self._model)
        networks = []
        for channels in self._channels:
            network = copy.deepcopy(self._model)
            cut_channels(network, self._groups, channels)
            networks.append(network.to(device=device, dtype=dtype).eval())
        times = time_calls(
            {
                str(index): partial(trace_forward, network, picture, num_rois=rois)
                for index, network in enumerate(networks)
            },
            device=device,
            seconds=5.0,
            most=40,
        )
        return list(times.values())


def _narrow(group: ChannelGroup, share: float) -> torch.Tensor:
    """A share of the channels of each part, in numbers that kernels like."""
    part = group.size // group.parts
    step = VECTOR if part >= 2 * VECTOR else 1
    stay = part if share == 1 else max(step, int(part * share) // step * step)
    channels = torch.arange(group.size)
    return channels[channels % part < stay]
