from types import SimpleNamespace

import pytest
import torch
from torch import nn

from adasap_det.utils import timing
from adasap_det.utils.timing import measure_latency


class Sleeper(nn.Module):
    """Advances the test's clock by a given time, by ten times that in every third pass."""

    def __init__(self, seconds: float, calls: list[str], name: str, clock: list[float]) -> None:
        super().__init__()
        self.seconds, self.calls, self.name, self.clock = seconds, calls, name, clock

    def forward(self, inputs: torch.Tensor, mode: str) -> None:
        assert mode == 'tensor'
        assert inputs.shape == (1, 3, 8, 16)
        assert not self.training
        assert not torch.is_grad_enabled()
        self.calls.append(self.name)
        self.clock[0] += self.seconds * (10 if len(self.calls) % 3 == 0 else 1)


def test_median_in_milliseconds_of_interleaved_models(monkeypatch):
    calls: list[str] = []
    clock = [0.0]
    monkeypatch.setattr(timing, 'time', SimpleNamespace(perf_counter=lambda: clock[0]))
    models = {
        'slow': Sleeper(0.02, calls, 'slow', clock),
        'quick': Sleeper(0.005, calls, 'quick', clock),
    }
    models['slow'].frozen = nn.Identity().eval()
    times = measure_latency(models, input_size=(8, 16), rounds=5, warm_up=2)
    assert calls == ['slow', 'slow', 'quick', 'quick', *(['slow', 'quick'] * 5)]
    assert times == pytest.approx({'slow': 20, 'quick': 5})
    assert all(model.training for model in models.values())
    assert not models['slow'].frozen.training  # each module keeps its own mode


def test_rounds_must_be_positive():
    with pytest.raises(ValueError, match='rounds is 0'):
        measure_latency({}, input_size=(8, 8), rounds=0)
