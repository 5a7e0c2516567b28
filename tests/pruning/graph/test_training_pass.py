import copy

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import get_installed_path

from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.graph.training_pass import train_forward

from ...helpers.toy import ToyDetector


def build(config):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    cfg = Config.fromfile(f'{get_installed_path("mmdet")}/.mim/configs/{config}')
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(copy.deepcopy(cfg.model))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'loss'),
    [
        ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'loss_bbox'),
        ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'loss_mask'),
    ],
)
def test_detectors_compute_their_losses(config, loss):
    losses = train_forward(build(config), example_image((96, 96)))
    values = losses[loss] if isinstance(losses[loss], list) else [losses[loss]]
    assert all(torch.isfinite(value).all() for value in values)


def test_other_models_of_mmengine_run_in_training_mode():
    model = ToyDetector().eval()
    outputs = train_forward(model, torch.rand(1, 3, 6, 6))
    assert outputs.shape == (2, 5, 6, 6)
    assert model.training


def test_detector_of_torchvision_needs_no_targets():
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    assert train_forward(model, example_image((320, 320)))['cls_logits'].shape == (2, 3234, 3)
