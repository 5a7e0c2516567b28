"""Transformers' RT-DETR and D-FINE, built from configs and trained by their own loss; optional."""

import copy

import pytest
import torch

from adasap_det import Pruner, load_pruned
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, count_params

transformers = pytest.importorskip('transformers', reason='Transformers is not installed')

BACKBONE = {
    'embedding_size': 16,
    'hidden_sizes': [16, 32, 64, 128],
    'out_features': ['stage2', 'stage3', 'stage4'],
}
SMALL = {
    'd_model': 32,
    'encoder_hidden_dim': 32,
    'encoder_in_channels': [32, 64, 128],
    'decoder_in_channels': [32, 32, 32],
    'encoder_ffn_dim': 64,
    'decoder_ffn_dim': 64,
    'encoder_attention_heads': 4,
    'num_attention_heads': 4,
    'decoder_attention_heads': 4,
    'decoder_layers': 2,
    'num_queries': 20,
    'num_denoising': 10,
    'num_labels': 3,
}


def rt_detr():
    backbone = transformers.RTDetrResNetConfig(depths=[1, 1, 1, 1], layer_type='basic', **BACKBONE)
    config = transformers.RTDetrConfig(backbone_config=backbone, **SMALL)
    return transformers.RTDetrForObjectDetection(config)


def d_fine():
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 8, 16],
        stage_in_channels=[16, 16, 32, 64],
        stage_mid_channels=[8, 8, 16, 32],
        stage_out_channels=BACKBONE['hidden_sizes'],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[2, 2, 2, 2],
        **BACKBONE,
    )
    config = transformers.DFineConfig(backbone_config=backbone, hidden_size=32, **SMALL)
    return transformers.DFineForObjectDetection(config)


@pytest.mark.slow
@pytest.mark.parametrize('build', [rt_detr, d_fine])
def test_detector_is_pruned_trained_and_reloaded(build):
    torch.manual_seed(0)
    network = build()
    dense, before = copy.deepcopy(network), count_params(network)
    pruner = Pruner(
        network,
        torch.rand(1, 3, 128, 128),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
        prunable_outputs=['model.encoder', 'model.decoder'],
    )
    heads = [group for group in pruner.groups if group.name.endswith('self_attn.q_proj')]
    assert [(group.size, group.width) for group in heads] == [(4, 8)] * 3  # one in the encoder
    assert 'model.encoder.fpn_blocks.0.conv1.conv' in {group.name for group in pruner.groups}
    pruner.prune()
    assert 0.48 * before < count_params(network) <= 0.5 * before
    images = torch.rand(2, 3, 128, 128)
    labels = [
        {'class_labels': torch.tensor([0, 2]), 'boxes': torch.rand(2, 4) / 4 + 0.3} for _ in images
    ]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    network.train()(pixel_values=images, labels=labels).loss.backward()
    optimizer.step()
    reloaded = load_pruned(dense, network.state_dict())
    with torch.no_grad():
        expected, actual = (each.eval()(images) for each in (network, reloaded))
    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.pred_boxes, expected.pred_boxes)
