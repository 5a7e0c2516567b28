"""A segmentor of MMSegmentation with an auxiliary head, trained by its own losses; optional."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData

from adasap_det import Pruner, load_pruned
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, count_params

try:
    mmseg = pytest.importorskip('mmseg.models', reason='MMSegmentation is not installed')
except AssertionError as error:  # it checks the version of MMCV
    pytest.skip(f'MMSegmentation does not take this MMCV: {error}', allow_module_level=True)

HEAD = {
    'num_classes': 5,
    'norm_cfg': {'type': 'BN'},
    'align_corners': False,
    'loss_decode': {'type': 'mmseg.CrossEntropyLoss'},
}


def segmentor():
    return mmseg.EncoderDecoder(
        backbone={
            'type': 'mmseg.ResNetV1c',
            'depth': 18,
            'base_channels': 16,
            'stem_channels': 16,
            'strides': (1, 2, 1, 1),
            'dilations': (1, 1, 2, 4),
            'norm_cfg': {'type': 'BN'},
        },
        decode_head={
            'type': 'mmseg.PSPHead',
            'in_channels': 128,
            'in_index': 3,
            'channels': 32,
            'pool_scales': (1, 2),
            **HEAD,
        },
        auxiliary_head={
            'type': 'mmseg.FCNHead',
            'in_channels': 64,
            'in_index': 2,
            'channels': 16,
            'num_convs': 1,
            'concat_input': False,
            **HEAD,
        },
        data_preprocessor={'type': 'mmseg.SegDataPreProcessor'},
        train_cfg={},
        test_cfg=ConfigDict(mode='whole'),
    )


def samples(images):
    from mmseg.structures import SegDataSample

    size = tuple(images.shape[-2:])
    labels = torch.arange(size[0] * size[1]).view(1, *size) % 5
    meta = {'img_shape': size, 'ori_shape': size, 'pad_shape': size}
    return [SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels.clone())) for _ in images]


@pytest.mark.slow
def test_segmentor_is_pruned_trained_and_reloaded():
    torch.manual_seed(0)
    network = segmentor()
    dense, before = copy.deepcopy(network), count_params(network)
    pruner = Pruner(
        network,
        torch.rand(1, 3, 64, 64),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )
    grouped = {layer for group in pruner.groups for layer in group.layers}
    assert {'decode_head.bottleneck.conv', 'auxiliary_head.convs.0.conv'} <= grouped
    outputs = {name for name in pruner.skipped if name.endswith('conv_seg')}
    assert set(pruner.skipped) == outputs == {'decode_head.conv_seg', 'auxiliary_head.conv_seg'}
    pruner.prune()
    assert 0.48 * before < count_params(network) <= 0.5 * before
    images = torch.rand(2, 3, 64, 64)
    losses = network.train().loss(images, samples(images))
    assert {'decode.loss_ce', 'aux.loss_ce'} <= set(losses)
    (losses['decode.loss_ce'] + losses['aux.loss_ce']).backward()
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    reloaded = load_pruned(dense, network.state_dict())
    with torch.no_grad():
        expected, actual = (
            each.eval().predict(images, samples(images))[0].seg_logits.data
            for each in (network, reloaded)
        )
    assert expected.shape == (5, 64, 64)
    assert torch.equal(actual, expected)
