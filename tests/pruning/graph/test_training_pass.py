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


def test_detector_of_transformers_gets_annotations_and_computes_no_loss():
    """The class embeddings of its denoising queries are run; the losses need float32."""
    transformers = pytest.importorskip('transformers', reason='Transformers is not installed')
    seen = []

    class ForObjectDetection(transformers.PreTrainedModel):
        config_class = transformers.PretrainedConfig

        def __init__(self):
            super().__init__(transformers.PretrainedConfig())
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, images, labels=None):
            seen.append(labels)
            return self.loss_function(labels)

    results = train_forward(ForObjectDetection(), torch.rand(1, 3, 8, 8))
    assert results == (None, {}, None)
    (labels,) = seen
    assert len(labels) == 2
    assert labels[0]['boxes'].shape == (2, 4)
    torch.testing.assert_close(labels[0]['boxes'][0], torch.tensor([0.35, 0.3, 0.5, 0.4]))
    assert labels[0]['class_labels'].dtype == torch.long
