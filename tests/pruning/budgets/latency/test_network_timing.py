import pytest
import torch
from torch import nn

from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.budgets.latency.latency_cost import SELECTED_WEIGHT
from adasap_det.pruning.budgets.latency.network_timing import (
    Forward,
    WidthSeries,
    pruned_copy,
    time_left,
)
from adasap_det.pruning.graph.tracing import example_image

from ....helpers.toy import ToyDetector, randomize

SIZE = (6, 6)
FORWARD = Forward(example_image(SIZE), 2, torch.float64, torch.device('cpu'))


@pytest.fixture
def detector():
    model = randomize(ToyDetector())
    return model, find_channel_groups(model, example_image(SIZE)).groups


def sizes(model):
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def test_widths_from_all_to_a_quarter(detector):
    model, groups = detector
    series = WidthSeries(model, groups)
    assert series.kept[0] == {g.name: g.size for g in groups}
    assert series.weights[0] == SELECTED_WEIGHT
    assert all(0 < kept[g.name] <= g.size for kept in series.kept for g in groups)
    half = series.kept[2]
    assert all(half[g.name] == max(1, g.size // 2) for g in groups if g.size < 16)


def test_latency_ratio_is_that_of_the_pruned_network(detector, monkeypatch):
    """Timed by the number of weights, pruned relative to dense."""
    model, groups = detector
    before = sizes(model)
    seen = []

    def time(self, networks, *, seconds):
        seen.extend(networks)
        return [float(sum(p.numel() for p in network.parameters())) for network in networks]

    monkeypatch.setattr(Forward, 'time', time)
    kept = {g.name: torch.arange(g.size)[: g.size // 2] for g in groups}
    share = time_left(model, groups, kept, FORWARD)
    count = sum(p.numel() for p in model.parameters())
    assert share == sum(p.numel() for p in pruned_copy(model, groups, kept).parameters()) / count
    assert sizes(model) == before
    assert model not in seen  # a copy: it is to be trained on


def test_networks_see_what_was_asked_for(monkeypatch):
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 1, 1)

        def forward(self, image):
            seen.append((image.shape, image.dtype, self.training))
            return self.layer(image)

    times = FORWARD.time([Net(), Net()], seconds=0.0)
    assert len(times) == 2
    assert min(times) > 0
    assert set(seen) == {((2, 3, 6, 6), torch.float64, False)}
