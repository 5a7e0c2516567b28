import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det import config_path
from adasap_det.datasets import make_shapes_voc
from adasap_det.utils.losses import batch_losses, mean_loss, some_batches


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    make_shapes_voc(root, num_train=6, num_val=1, num_test=1, image_size=96, seed=0)
    cfg = Config.fromfile(config_path('demo/shapes_dense.py'))
    cfg.train_dataloader.dataset.data_root = str(root)
    cfg.train_dataloader.batch_size = 2
    init_default_scope('mmdet')
    return cfg


@pytest.fixture(scope='module')
def model(cfg):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(cfg.model))


def test_batches_are_reproducible(cfg):
    first, again = some_batches(cfg, 2), some_batches(cfg, 2)
    assert len(first) == 2
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one['inputs'], other['inputs'], strict=True))


def test_losses_change_no_statistics_and_are_reproducible(cfg, model):
    batches = some_batches(cfg, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = [loss.item() for loss in batch_losses(model, batches)]
    assert mean_loss(model, batches) == pytest.approx(sum(losses) / 2)
    assert losses[0] != losses[1]
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_losses_have_gradients(cfg, model):
    (loss,) = batch_losses(model, some_batches(cfg, 1))
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()
