"""The latency of a model: times of its layers from a table, measured where they are missing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from adasap_det.pruning.budgets.cost import block_of
from adasap_det.pruning.budgets.tensor_sizes import Along, TensorSizes
from adasap_det.pruning.graph.channel_group import ChannelGroup

from .grid import Grid, points
from .latency_cost import LatencyCost, LatencyTerm, Measured
from .layers import LayerCall, layer_calls
from .network_timing import Forward, WidthSeries
from .table import LatencyTable, LayerRequest

Side = tuple[float, Along]


def latency_cost(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    table: LatencyTable,
    *,
    forward: Forward,
    measure: bool = True,
    quiet: bool = False,
    blocks: Sequence[str] = (),
) -> LatencyCost:
    """Cost model of the latency; adds to ``table`` what it has to measure.

    Args:
        model: The model that ``groups`` were found in; it is not touched.
        groups: Its channel groups.
        table: Times of the device.
        forward: The pass whose time counts.
        measure: Whether what is missing may be measured.
        quiet: No progress bar.
        blocks: Names of the blocks that may be removed as a whole.

    Raises:
        ValueError: If the table lacks a layer and must not measure it.
    """
    calls = layer_calls(
        model,
        forward.example_inputs,
        batch_size=forward.batch_size,
        dtype=forward.dtype,
    )
    sizes = TensorSizes(model, groups)
    modules = dict(model.named_modules())
    requests = [_request(call, modules[call.name], sizes) for call in calls]
    network = _digest(calls)
    series = WidthSeries(model, groups)
    if measure:
        # Before and after the layers: one disturbance does not affect both.
        times = [series.time(forward)] if network not in table.networks else []
        table.measure(requests, device=forward.device, quiet=quiet)
        times += [series.time(forward)] if network not in table.networks else []
    terms = []
    for call, request in zip(calls, requests, strict=True):
        grid = table.find(request.kind, request.inputs, request.outputs)
        if grid is None:
            raise ValueError(
                f'the latency table of {table.device["device"]} has no times of {call.name} '
                f'({request.kind.key}, {request.inputs[-1]} to {request.outputs[-1]} channels); '
                f'build it there with the same config, batch size and input size'
            )
        terms.append(_term(call, sizes, grid, block_of(call.name, blocks)))
    if network not in table.networks:
        if not measure:
            raise ValueError(
                f'the latency table of {table.device["device"]} has all layers of this network '
                f'but not the network; build it there with the same config'
            )
        typical = [sum(visits) / len(visits) for visits in zip(*times, strict=True)]
        table.networks[network] = [
            Measured(ms, LatencyCost(terms, kept).layer_totals(), weight)
            for ms, kept, weight in zip(typical, series.kept, series.weights, strict=True)
        ]
    full = sizes.full | dict.fromkeys(blocks, 1)
    return LatencyCost(terms, full, table.networks[network])


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


def _term(call: LayerCall, sizes: TensorSizes, grid: Grid, block: str | None) -> LatencyTerm:
    inputs, outputs = _sides(call, sizes)
    depthwise = call.kind.groups == 'depthwise'
    kernel = math.prod(call.kind.kernel) / (1 if depthwise else int(call.kind.groups))
    return LatencyTerm(call.name, grid, inputs, outputs, depthwise, call.outputs, kernel, block)


def _digest(calls: Sequence[LayerCall]) -> str:
    """A network, whatever its numbers of channels."""
    text = '\n'.join(f'{call.name} {call.kind.key}' for call in calls)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
