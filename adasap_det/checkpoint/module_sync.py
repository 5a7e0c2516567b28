"""Channel attributes of modules (``out_channels``, ``num_features``, ...) after pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .attention_layout import sync_attention


def sync_modules(model: nn.Module, before: Mapping[str, torch.Size]) -> None:
    """Make the modules' channel attributes agree with the shapes of their tensors.

    Args:
        model: A model some of whose tensors have just shrunk.
        before: Shapes before, by dotted name.
    """
    for prefix, module in model.named_modules():
        own = {
            f'{prefix}.{name}' if prefix else name: tensor
            for name, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }
        if any(before.get(name, t.shape) != t.shape for name, t in own.items()):
            sync = next((s for kind, s in _SYNC if isinstance(module, kind)), _sync_other)
            sync(module)
    sync_attention(model, before)
    for module in model.modules():
        # mmcv's ConvModule repeats its convolution's channels.
        conv = getattr(module, 'conv', None)
        if isinstance(conv, nn.modules.conv._ConvNd) and hasattr(module, 'out_channels'):
            for attribute in ('in_channels', 'out_channels', 'groups'):
                setattr(module, attribute, getattr(conv, attribute))
        if hasattr(module, 'rpn_head') and hasattr(module, 'roi_head'):
            _sync_roi_extractors(module)


def _sync_roi_extractors(detector: Any) -> None:
    # They have no tensors of their own, and read the same feature maps as the RPN.
    rpn_conv = next(m for m in detector.rpn_head.modules() if isinstance(m, nn.Conv2d))
    for module in detector.roi_head.modules():
        if hasattr(module, 'roi_layers') and hasattr(module, 'out_channels'):
            module.out_channels = rpn_conv.in_channels


def _sync_conv(module: nn.modules.conv._ConvNd) -> None:
    transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
    if module.groups == module.in_channels == module.out_channels > 1:  # depthwise
        module.groups = module.in_channels = module.out_channels = module.weight.shape[0]
        return
    first, second = module.weight.shape[:2]
    if transposed:
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        module.out_channels, module.in_channels = first, second * module.groups


def _sync_linear(module: nn.Linear) -> None:
    module.out_features, module.in_features = module.weight.shape


def _sync_features(module: nn.modules.batchnorm._NormBase) -> None:
    # One of the two exists, otherwise no tensor of the layer could have changed.
    per_channel = module.weight if module.weight is not None else module.running_mean
    module.num_features = per_channel.shape[0]


def _sync_group_norm(module: nn.GroupNorm) -> None:
    module.num_channels = module.weight.shape[0]


def _sync_layer_norm(module: nn.LayerNorm) -> None:
    module.normalized_shape = tuple(module.weight.shape)


def _sync_prelu(module: nn.PReLU) -> None:
    module.num_parameters = module.weight.shape[0]


def _sync_other(module: Any) -> None:
    # mmdet's L2Norm calls its channels n_dims.
    if hasattr(module, 'n_dims'):
        module.n_dims = module.weight.shape[0]


_SYNC = (
    (nn.modules.conv._ConvNd, _sync_conv),
    (nn.Linear, _sync_linear),
    (nn.modules.batchnorm._NormBase, _sync_features),
    (nn.GroupNorm, _sync_group_norm),
    (nn.LayerNorm, _sync_layer_norm),
    (nn.PReLU, _sync_prelu),
)
