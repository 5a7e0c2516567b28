"""Attention modules of 4 heads of 6 channels, one of each supported class, and how to call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adasap_det.pruning.graph.attention_heads import head_groups
from adasap_det.pruning.graph.channel_group import ChannelGroup

HEADS, WIDTH = 4, 6
CHANNELS = HEADS * WIDTH


def swin_mask() -> Tensor:
    """A mask for three windows of four tokens."""
    return torch.linspace(-3, 0, 48, dtype=torch.float64).view(3, 4, 4)


def mmdet_window() -> nn.Module:
    swin = pytest.importorskip('mmdet.models.backbones.swin')
    return swin.WindowMSA(CHANNELS, HEADS, (2, 2))


def mmpretrain_window() -> nn.Module:
    attention = pytest.importorskip('mmpretrain.models.utils.attention')
    return attention.WindowMSA(CHANNELS, (2, 2), HEADS)


def mmpretrain_attention() -> nn.Module:
    attention = pytest.importorskip('mmpretrain.models.utils.attention')
    return attention.MultiheadAttention(CHANNELS, HEADS)


def torch_attention() -> nn.Module:
    return nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True)


def torch_cross_attention() -> nn.Module:
    return nn.MultiheadAttention(CHANNELS, HEADS, kdim=8, vdim=12, bias=False)


def mmcv_wrapper() -> nn.Module:
    transformer = pytest.importorskip('mmcv.cnn.bricks.transformer')
    return transformer.MultiheadAttention(CHANNELS, HEADS, batch_first=True)


def mmcv_deformable() -> nn.Module:
    ops = pytest.importorskip('mmcv.ops')
    return ops.MultiScaleDeformableAttention(CHANNELS, HEADS, 2, 3, batch_first=True)


def timm_attention() -> nn.Module:
    layers = pytest.importorskip('timm.layers.attention')
    return layers.Attention(CHANNELS, HEADS, qkv_bias=True, gated=True)


def timm_window() -> nn.Module:
    swin = pytest.importorskip('timm.models.swin_transformer')
    return swin.WindowAttention(CHANNELS, HEADS, window_size=2)


def torchvision_window() -> nn.Module:
    swin = pytest.importorskip('torchvision.models.swin_transformer')
    return swin.ShiftedWindowAttention(CHANNELS, [2, 2], [1, 1], HEADS)


def transformers_attention() -> nn.Module:
    rt_detr = pytest.importorskip('transformers.models.rt_detr.modeling_rt_detr')
    config = rt_detr.RTDetrConfig(attn_implementation='eager')
    return rt_detr.RTDetrSelfAttention(config, CHANNELS, HEADS)


def transformers_deformable() -> nn.Module:
    rt_detr = pytest.importorskip('transformers.models.rt_detr.modeling_rt_detr')
    config = rt_detr.RTDetrConfig(d_model=CHANNELS, num_feature_levels=2)
    return rt_detr.RTDetrMultiscaleDeformableAttention(config, HEADS, n_points=3)


def call_transformers_deformable(module: Any, x: Tensor) -> Tensor:
    boxes = torch.linspace(0.1, 0.9, x.shape[0] * 4 * 4).view(x.shape[0], 4, 1, 4).to(x)
    shapes = [(2, 1), (1, 2)]
    return module(x, encoder_hidden_states=x, reference_points=boxes, spatial_shapes_list=shapes)[0]


def call_deformable(module: Any, x: Tensor) -> Tensor:
    shapes = torch.tensor([[2, 1], [1, 2]])
    points = torch.linspace(0.1, 0.9, x.shape[0] * 4 * 2 * 2).view(x.shape[0], 4, 2, 2).to(x)
    return module(
        x, reference_points=points, spatial_shapes=shapes, level_start_index=torch.tensor([0, 2])
    )


def call_cross(module: Any, x: Tensor) -> Tensor:
    padding = torch.tensor([[False, False, False, True]] * 4)
    masks = torch.zeros(4, 4, dtype=torch.bool)
    masks[0, 1] = True
    x = x[:4]
    out, _ = module(x, x[..., :8], x[..., :12], key_padding_mask=padding, attn_mask=masks)
    return out


MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Tensor], Tensor]]] = {
    'mmdet_window': (mmdet_window, lambda m, x: m(x, mask=swin_mask().to(x))),
    'mmpretrain_window': (mmpretrain_window, lambda m, x: m(x)),
    'mmpretrain_attention': (mmpretrain_attention, lambda m, x: m(x)),
    'torch_attention': (torch_attention, lambda m, x: m(x, x, x)[0]),
    'torch_cross_attention': (torch_cross_attention, call_cross),
    'mmcv_wrapper': (mmcv_wrapper, lambda m, x: m(x)),
    'mmcv_deformable': (mmcv_deformable, call_deformable),
    'timm_attention': (timm_attention, lambda m, x: m(x)),
    'timm_window': (timm_window, lambda m, x: m(x, mask=swin_mask().to(x))),
    'torchvision_window': (
        torchvision_window,
        lambda m, x: m(x.reshape(3, 2, 4, CHANNELS)[:, :, :3]),
    ),
    'transformers_attention': (transformers_attention, lambda m, x: m(x)[0]),
    'transformers_deformable': (transformers_deformable, call_transformers_deformable),
}


def tokens() -> Tensor:
    """Input of all modules, shape ``(6, 4, CHANNELS)``, float64."""
    return torch.randn(6, 4, CHANNELS, generator=torch.Generator().manual_seed(1)).double()


def build(name: str) -> tuple[nn.ModuleDict, Callable[[nn.ModuleDict], Tensor]]:
    """A model with the attention as its layer ``a``, all values random, and its output."""
    make, call = MODULES[name]
    torch.manual_seed(0)
    module = make().double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return nn.ModuleDict({'a': module}), lambda model: call(model['a'], tokens())


def groups_of(model: nn.Module, **options: Any) -> list[ChannelGroup]:
    """Groups of the model that need no trace."""
    return head_groups(model, **options).groups


def mask_heads(model: nn.Module, group: ChannelGroup, kept: Tensor) -> None:
    """Zero what the projection reads of all heads but the ``kept`` ones."""
    for piece in group.consumers:
        lost = piece.positions[~torch.isin(piece.channels, kept)]
        model.get_parameter(piece.name).data.index_fill_(piece.dim, lost, 0)


class AttentionNet(nn.Module):
    """A convolution, one transformer layer over its positions, and 5 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 2, 2)
        self.attention = torch_attention()
        self.fc1 = nn.Linear(CHANNELS, 16)
        self.fc2 = nn.Linear(16, CHANNELS)
        self.head = nn.Linear(CHANNELS, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.fc2(self.fc1(x).relu())
        return self.head(x.mean(1))
