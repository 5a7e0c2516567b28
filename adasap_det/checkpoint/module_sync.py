"""Channel attributes of modules (``out_channels``, ``num_features``, ...) after pruning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .attention_layout import sync_attention


def sync_modules(model: nn.Module, before: Mapping[str, torch.Size]) -> None:
    """Make the modules' channel attributes agree with the shapes of their tensors.

    Of modules that are not PyTorch's, only attributes of the instance that held the number of
    channels are changed.

    Args:
        model: A model some of whose tensors have just shrunk.
        before: Shapes before, by dotted name.
    """
    # mmcv's ConvModule repeats its convolution's channels.
    repeated = [
        (module, module.conv, attribute)
        for module in model.modules()
        if isinstance(getattr(module, 'conv', None), nn.modules.conv._ConvNd)
        for attribute in ('in_channels', 'out_channels', 'groups')
        if vars(module).get(attribute) == getattr(module.conv, attribute)
    ]
    for prefix, module in model.named_modules():
        own = {
            f'{prefix}.{name}' if prefix else name: tensor
            for name, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }
        if any(before.get(name, t.shape) != t.shape for name, t in own.items()):
            sync = next((s for kind, s in _SYNC if isinstance(module, kind)), None)
            if sync is not None:
                sync(module)
            else:
                _sync_n_dims(module, before.get(f'{prefix}.weight' if prefix else 'weight'))
    for module, conv, attribute in repeated:
        setattr(module, attribute, getattr(conv, attribute))
    sync_attention(model, before)
    for module in model.modules():
        derive = _DERIVED.get(f'{type(module).__module__}.{type(module).__qualname__}')
        if derive is not None:
            derive(module)
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


def _sync_n_dims(module: Any, before: torch.Size | None) -> None:
    # mmdet's L2Norm calls its channels n_dims.
    if before and vars(module).get('n_dims') == before[0]:
        module.n_dims = module.weight.shape[0]


_SYNC = (
    (nn.modules.conv._ConvNd, _sync_conv),
    (nn.Linear, _sync_linear),
    (nn.modules.batchnorm._NormBase, _sync_features),
    (nn.GroupNorm, _sync_group_norm),
    (nn.LayerNorm, _sync_layer_norm),
    (nn.PReLU, _sync_prelu),
)


def _split_elan(module: Any) -> None:
    module.conv_dim = module.conv1.conv.out_channels // 2


def _deformable_width(module: Any) -> None:
    module.d_model = module.sampling_offsets.in_features


_DERIVED: dict[str, Callable[[Any], None]] = {
    'transformers.models.d_fine.modeling_d_fine.DFineRepNCSPELAN4': _split_elan,
    'transformers.models.d_fine.modeling_d_fine.DFineMultiscaleDeformableAttention': (
        _deformable_width
    ),
}
"""Attributes that follow from the channels of a module's layers, for classes of other packages."""
