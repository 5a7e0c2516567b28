from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from adasap_det.hooks.size_report import measured_latency, report_size
from adasap_det.pruning import ParamsBudget
from adasap_det.pruning.budgets.latency import LatencyBudget
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.toy import ToyDetector

DENSE = {'budget': 8.0, 'params': 4e6, 'macs': 2e9}


@pytest.fixture
def reported(request, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'adasap_det.hooks.size_report.print_log', lambda line, logger: lines.append(line)
    )
    hub = MessageHub(request.node.name)

    def tell(budget, **options):
        report_size(
            hub,
            'Prune step 1/2',
            groups=[SimpleNamespace(size=3), SimpleNamespace(size=4)],
            costs={'budget': 2.0, 'params': 1e6, 'macs': 0.25e9},
            dense=DENSE,
            budget=budget,
            **options,
        )
        scalars = {name: hub.get_scalar(name).current() for name in hub.log_scalars}
        return lines, scalars

    return tell


def test_line_and_scalars_of_the_size(reported):
    (line,), scalars = reported(ParamsBudget(keep_ratio=0.5))
    assert line == (
        'Prune step 1/2: 7 prunable channels in 2 groups; parameters 1.000 M (25.0% of dense), '
        'MACs 0.250 G (12.5%)'
    )
    assert scalars == {'train/params_M': 1.0, 'train/macs_G': 0.25}


def test_latency_predicted_and_measured(reported):
    (line,), scalars = reported(LatencyBudget(keep_ratio=0.5), measured=2.34)
    assert line.endswith('(12.5%), predicted latency 2 ms (25.0%), measured latency 2.3 ms')
    assert scalars['train/latency_ms'] == 2.0
    assert scalars['train/latency_measured_ms'] == 2.34


def test_the_measured_model_keeps_its_mode_and_statistics():
    model = ToyDetector().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert measured_latency(model, example_image((6, 6))) > 0
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
