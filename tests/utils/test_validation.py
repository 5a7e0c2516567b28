import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator

from adasap_det.utils.validation import evaluate, validation_metric

from ..helpers.training_runs import TinyNet, tiny_config


class Counted(BaseMetric):
    """Mean of the model's outputs, and number of images."""

    default_prefix = 'counted'

    def process(self, data_batch, data_samples):
        self.results += [float(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return {'mean': sum(results) / len(results), 'images': len(results)}


class Echo(torch.nn.Module):
    """Returns its input in evaluation mode, and nothing in training mode."""

    def val_step(self, batch):
        assert not torch.is_grad_enabled()
        return [] if self.training else batch


def test_all_metrics_over_all_batches():
    model = Echo().train()
    found = evaluate(model, [[1.0, 2.0], [6.0]], Evaluator(Counted()), 3)
    assert found == {'counted/mean': 3.0, 'counted/images': 3}
    assert model.training


def test_metric_equals_the_runners_validation(tmp_path):
    cfg = tiny_config(tmp_path)
    torch.manual_seed(0)
    model = TinyNet()
    from mmengine.runner import Runner

    runner = Runner.from_cfg(cfg)
    runner.model.load_state_dict(model.state_dict())
    expected = runner.val()
    (name,) = expected
    assert validation_metric(cfg, name)(model) == expected[name]
    with pytest.raises(ValueError, match=f"no metric 'loss'; there are {name}"):
        validation_metric(cfg, 'loss')(model)


def test_config_without_validation_data():
    with pytest.raises(ValueError, match='no val_dataloader'):
        validation_metric(Config({'model': {}}), 'loss')
