import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from adasap_det.models import SSDExtraLayers

SSD512 = dict(
    in_channels=16,
    mid_channels=(12, 6),
    out_channels=(8, 4),
    mid_kernels=(3, 1),
    out_kernels=(3, 4),
    strides=(2, 1),
)


def test_maps_shrink_and_the_first_is_the_backbone_map():
    neck = SSDExtraLayers(**SSD512)
    feature = torch.rand(2, 16, 4, 4)
    maps = neck([feature])
    assert maps[0] is feature
    # (4 + 2 - 3) // 2 + 1 = 2, and 2 + 2 - 4 + 1 = 1
    assert [tuple(m.shape) for m in maps] == [(2, 16, 4, 4), (2, 8, 2, 2), (2, 4, 1, 1)]


def test_convolutions_have_the_given_sizes():
    convs = [m for m in SSDExtraLayers(**SSD512).modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(conv.weight.shape) for conv in convs] == [
        (12, 16, 3, 3),
        (8, 12, 3, 3),
        (6, 8, 1, 1),
        (4, 6, 4, 4),
    ]


def test_each_map_is_convolution_and_activation_of_the_previous_one():
    neck = SSDExtraLayers(**SSD512)
    maps = neck([torch.rand(1, 16, 4, 4)])
    mid, out = neck.extra_layers[0]
    hidden = nn.functional.conv2d(maps[0], mid.conv.weight, mid.conv.bias, padding=1).relu()
    expected = nn.functional.conv2d(hidden, out.conv.weight, out.conv.bias, stride=2, padding=1)
    torch.testing.assert_close(maps[1], expected.relu())


def test_norm_follows_every_convolution_and_replaces_its_bias():
    neck = MODELS.build(dict(type='SSDExtraLayers', norm_cfg=dict(type='BN'), **SSD512))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in neck.modules()) == 4
    assert all(m.bias is None for m in neck.modules() if isinstance(m, nn.Conv2d))


def test_weights_have_kaimings_standard_deviation():
    torch.manual_seed(0)
    neck = SSDExtraLayers(
        in_channels=64,
        mid_channels=(128,),
        out_channels=(64,),
        mid_kernels=(3,),
        out_kernels=(3,),
        strides=(2,),
    )
    neck.init_weights()
    for module, fan_out in zip(neck.extra_layers[0], (128 * 9, 64 * 9), strict=True):
        assert module.conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(strides=(2,)), 'of one length, got 2, 2, 2, 2, 1'),
        (dict(mid_kernels=(2, 1)), r'mid_kernels must be odd, got \(2, 1\)'),
    ],
)
def test_invalid_options_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        SSDExtraLayers(**{**SSD512, **change})
