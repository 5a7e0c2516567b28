"""Describe a pruned model as plain data, and shrink a dense one to it without tracing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

META_KEY = 'adasap_det'
"""Where a checkpoint's ``meta`` says what was cut."""

FORMAT_VERSION = 1

Shape = Sequence[int]


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by dotted name, shared ones under their first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that a state dict holds, the live ones, by dotted name."""
    state = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def describe(
    model: nn.Module,
    *,
    kept: Mapping[str, Sequence[int]],
    dense_channels: Mapping[str, int],
) -> dict[str, Any]:
    """The structure as JSON-able data.

    Args:
        model: The pruned model.
        kept: Channels of the dense model that are left, by group name.
        dense_channels: How many the dense model had.

    Returns:
        ``format``, ``shapes`` (every tensor's, by name), ``kept`` and ``dense_channels``.
    """
    return {
        'format': FORMAT_VERSION,
        'shapes': {name: list(t.shape) for name, t in saved_tensors(model).items()},
        'kept': {name: list(channels) for name, channels in kept.items()},
        'dense_channels': dict(dense_channels),
    }


def shrink(model: nn.Module, shapes: Mapping[str, Shape]) -> bool:
    """Give every tensor of ``model`` the shape it has in ``shapes``, in place.

    Parameters stay the same objects, so that an optimizer built before stays valid. Values of
    tensors that shrink are those of the leading channels, and meant to be overwritten by a
    checkpoint's.

    Args:
        model: The dense model, or one pruned less.
        shapes: Shapes by dotted name.

    Returns:
        Whether anything shrank.

    Raises:
        ValueError: If a tensor is missing on either side, or one of ``shapes`` is no smaller or
            equal version of the model's; names the tensor and both shapes.
    """
    tensors = saved_tensors(model)
    missing = sorted(set(tensors) - set(shapes))
    unknown = sorted(set(shapes) - set(tensors))
    if missing or unknown:
        raise ValueError(
            f'the checkpoint does not fit the model: {_names(missing, "lacks")}'
            f'{"; " if missing and unknown else ""}{_names(unknown, "has the unknown")}. '
            f'Is this the config it was trained with?'
        )
    for name, tensor in tensors.items():
        target = tuple(shapes[name])
        fits = len(target) == tensor.dim() and all(
            0 < new <= old for new, old in zip(target, tensor.shape, strict=True)
        )
        if not fits and target != tuple(tensor.shape):
            raise ValueError(
                f'the checkpoint does not fit the model: {name} has shape {target} there and '
                f'{tuple(tensor.shape)} in the model, and a pruned tensor is never larger. '
                f'Is this the config it was trained with?'
            )

    before = {name: t.shape for name, t in tensors.items()}
    changed = False
    for name, tensor in tensors.items():
        target = tuple(shapes[name])
        if target != tuple(tensor.shape):
            tensor.data = tensor.data[tuple(slice(n) for n in target)].clone()
            tensor.grad = None
            changed = True
    if changed:
        sync_modules(model, before)
    return changed


def sync_modules(model: nn.Module, before: Mapping[str, torch.Size]) -> None:
    """Make the modules' own channel counts agree with their tensors.

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
    for module in model.modules():
        # mmcv's ConvModule shows its convolution's channels as its own.
        conv = getattr(module, 'conv', None)
        if isinstance(conv, nn.modules.conv._ConvNd) and hasattr(module, 'out_channels'):
            for attribute in ('in_channels', 'out_channels', 'groups'):
                setattr(module, attribute, getattr(conv, attribute))
        if hasattr(module, 'rpn_head') and hasattr(module, 'roi_head'):
            _sync_roi_extractors(module)


def _sync_roi_extractors(detector: Any) -> None:
    # They have no tensor to tell their channels, and read the feature maps that the RPN reads.
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
    # One of the two is there, or nothing of the layer would have changed.
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


def _names(names: Sequence[str], verb: str, limit: int = 3) -> str:
    if not names:
        return ''
    rest = f' and {len(names) - limit} more' if len(names) > limit else ''
    return f'it {verb} {", ".join(names[:limit])}{rest}'
