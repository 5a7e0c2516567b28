"""Ultralytics' detectors, built from their YAML and trained by their own loss; optional."""

import copy

import pytest
import torch

from adasap_det import Pruner, load_pruned
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, count_params

ultralytics = pytest.importorskip('ultralytics', reason='Ultralytics is not installed (AGPL)')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['yolov8n.yaml', 'yolo11n.yaml'])
def test_yolo_is_pruned_trained_and_reloaded(name):
    torch.manual_seed(0)
    network = ultralytics.YOLO(name).model
    network.args = ultralytics.utils.DEFAULT_CFG
    network.requires_grad_(True)
    dense, before = copy.deepcopy(network), count_params(network)
    features = [f'model.{i}' for i in network.model[-1].f]
    pruner = Pruner(
        network,
        torch.rand(1, 3, 128, 128),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
        round_to=8,
        prunable_outputs=features,
    )
    pruner.prune()
    assert 0.48 * before < count_params(network) <= 0.5 * before
    batch = {
        'img': torch.rand(2, 3, 128, 128),
        'cls': torch.zeros(2, 1),
        'bboxes': torch.tensor([[0.5, 0.5, 0.3, 0.3], [0.6, 0.6, 0.2, 0.4]]),
        'batch_idx': torch.tensor([0.0, 1.0]),
    }
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    loss, _ = network.train()(batch)
    loss.sum().backward()
    optimizer.step()
    reloaded = load_pruned(dense, network.state_dict()).eval()
    with torch.no_grad():
        expected, actual = (each.eval()(batch['img'])[0] for each in (network, reloaded))
    assert torch.equal(actual, expected)
