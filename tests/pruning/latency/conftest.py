"""Times that are known: a layer takes a nanosecond a multiply-accumulate, and 10 us."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from adasap_det.pruning import cut_channels
from adasap_det.pruning.latency import model as model_file
from adasap_det.pruning.latency import table as table_file
from adasap_det.pruning.latency.layers import layer_calls


def known_time(kind, channels, device):
    inputs, outputs = channels
    if kind.groups == 'depthwise':
        inputs, outputs, groups = inputs, inputs, inputs
    else:
        groups = int(kind.groups)
    positions = math.prod(kind.shape)  # stride 1 and 'same' padding in these networks
    macs = positions * math.prod(kind.kernel) * inputs // groups * outputs
    return 0.01 + 1e-6 * macs


@pytest.fixture
def known_times(monkeypatch):
    """Layers as above; networks take 1 ms and 1 us for each element on top."""
    measured = []

    def time_layer(kind, channels, device):
        measured.append((kind.key, channels))
        return known_time(kind, channels, device)

    monkeypatch.setattr(table_file, '_time', time_layer)

    def time_networks(self):
        times = []
        for channels in self._channels:
            network = copy.deepcopy(self._model)
            cut_channels(network, self._groups, channels)
            modules = dict(network.named_modules())
            total = 1.0
            for call in layer_calls(
                network, input_size=self._picture[0], batch_size=1, dtype=torch.float32
            ):
                layer = modules[call.name]
                sides = layer.in_channels, layer.out_channels
                total += known_time(call.kind, sides, None)
                total += 1e-3 * call.outputs * layer.out_channels
            times.append(total)
        return times

    monkeypatch.setattr(model_file._Networks, 'time', time_networks)
    return measured
