import pytest
import torch
import torchvision
from mmengine.model import BaseModel
from torch import nn

from adasap_det import config_path
from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.graph.tracing import (
    example_image,
    like_parameters,
    spread_rois,
    trace_forward,
)
from adasap_det.utils.modules import eval_mode

from ...helpers.toy import ToyDetector


def test_example_image_is_always_the_same_noise():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = example_image((4, 6)), example_image((4, 6))
    assert first.shape == (1, 3, 4, 6)
    assert torch.equal(first, second)
    assert first.std() > 0.1
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_inputs_have_parameter_dtype(dtype):
    model = nn.Conv2d(3, 2, 1).to(dtype)
    assert trace_forward(model, like_parameters(example_image((4, 6)), model)).dtype == dtype


def test_rois_of_all_sizes():
    rois = spread_rois(torch.zeros(1, 3, 80, 160), 4)
    assert rois[:, :3].abs().sum() == 0
    torch.testing.assert_close(rois[:, 3], torch.tensor([20.0, 40.0, 80.0, 160.0]))
    torch.testing.assert_close(rois[:, 4], torch.tensor([10.0, 20.0, 40.0, 80.0]))


def test_training_modes_are_restored_after_an_error():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Dropout(), nn.Dropout()))
    model[0].eval()
    model[1][1].eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError), eval_mode(model):
        assert not any(module.training for module in model.modules())
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == modes


def test_base_model_is_called_in_tensor_mode():
    class Detector(BaseModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return mode, inputs

    image = torch.zeros(1, 3, 4, 4)
    assert trace_forward(Detector(), image) == ('tensor', image)


def test_a_plain_module_is_called():
    assert trace_forward(nn.Identity(), torch.ones(1)).item() == 1


class RPN(nn.Module):
    def forward(self, features):
        return ('rpn', features)


class TwoStage(nn.Module):
    def __init__(self, roi_head):
        super().__init__()
        self.rpn_head, self.roi_head = RPN(), roi_head

    def extract_feat(self, inputs):
        return inputs * 2


class RoIHead(nn.Module):
    def _bbox_forward(self, features, rois):
        assert features.unique().item() == 2
        return {
            'cls_score': rois[:, :2],
            'bbox_pred': rois[:, 1:],
            'bbox_feats': torch.zeros(9),
            'extra': None,
        }


class CascadeHead(nn.Module):
    num_stages = 3

    def _bbox_forward(self, stage, features, rois):
        return {'cls_score': torch.full((len(rois),), float(stage))}


def test_second_stage_runs_on_fixed_boxes():
    rpn, second = trace_forward(TwoStage(RoIHead()), torch.ones(1, 3, 8, 8), num_rois=5)
    assert rpn[0] == 'rpn'
    assert [tuple(t.shape) for t in second] == [(5, 2), (5, 4)]  # the pooled maps left out


def test_every_cascade_stage_runs():
    _, *stages = trace_forward(TwoStage(CascadeHead()), torch.ones(1, 3, 8, 8))
    assert [stage[0].tolist() for stage in stages] == [[0.0] * 8, [1.0] * 8, [2.0] * 8]


def test_the_toy_runs():
    model = ToyDetector().eval()
    assert trace_forward(model, like_parameters(example_image((6, 6)), model)).shape == (1, 5, 6, 6)


@pytest.mark.slow
def test_two_stage_detector_is_analyzed_with_its_second_stage():
    """The operators of RoI extractors are outside of PyTorch."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=False)
    cfg = Config.fromfile(
        config_path('faster_rcnn/faster-rcnn_r50_fpn_adasap-params40_1x_voc0712.py')
    )
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).eval()
    inputs = like_parameters(example_image((96, 96)), model)
    pooled, real = (trace_forward(model, inputs, num_rois=n) for n in (None, 3))
    assert [t.shape[1:] for t in pooled[1]] == [t.shape[1:] for t in real[1][:2]]
    groups = {
        group.name: group for group in find_channel_groups(model, example_image((96, 96))).groups
    }
    hidden = groups['roi_head.bbox_head.shared_fcs.0']
    assert hidden.size == 1024
    neck = next(g for g in groups.values() if 'neck.fpn_convs.0.conv' in g.layers)
    reads = {s.name: s for s in neck.consumers}['roi_head.bbox_head.shared_fcs.0.weight']
    # 7x7 positions of each of the 256 channels, channel by channel, as flatten lays them out.
    assert reads.positions.tolist() == list(range(256 * 49))
    assert reads.channels.tolist() == [i // 49 for i in range(256 * 49)]


class Transformer(BaseModel):
    """A detection transformer's structure: its forward pass wants the size of the images."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.neck = nn.Conv2d(8, 4, 1)
        self.decoder = nn.Linear(4, 4)

    def pre_transformer(self):
        raise AssertionError

    def extract_feat(self, inputs):
        return (self.neck(self.backbone(inputs)),)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert all(sample.batch_input_shape == (8, 8) for sample in data_samples)
        return self.decoder(self.extract_feat(inputs)[0].mean((2, 3)))


def test_detection_transformer_is_traced_as_a_whole():
    analysis = find_channel_groups(Transformer(), example_image((8, 8)))
    assert [group.layers for group in analysis.groups] == [('backbone.0',), ('neck',)]
    assert set(analysis.skipped) == {'decoder'}


def test_of_a_transformer_that_reads_text_backbone_and_neck_are_traced():
    class TextTransformer(Transformer):
        language_model = nn.Identity()

    analysis = find_channel_groups(TextTransformer(), example_image((8, 8)))
    assert [group.layers for group in analysis.groups] == [('backbone.0',)]
    assert set(analysis.skipped) == {'neck', 'decoder'}


def test_one_stage_detector_of_torchvision_is_traced_up_to_its_raw_outputs():
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    ).eval()
    with torch.no_grad():
        raw = trace_forward(model, example_image((320, 320)))
    assert raw['cls_logits'].shape == (1, 3234, 3)
    assert raw['bbox_regression'].shape == (1, 3234, 4)
