"""Describe a pruned model as plain data, and shrink a dense one to it without tracing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

META_KEY = 'adasap_det'
"""Where a checkpoint's ``meta`` says what was cut."""

FORMAT_VERSION = 1

Shape = Sequence[int]

_CUT = '_adasap_det_cut'


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by dotted name, shared ones under their first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that a state dict holds, the live ones, by dotted name."""
    state = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def pruned_dims(model: nn.Module) -> dict[str, list[int]]:
    """Dimensions that have lost channels since the model was built, by name of the tensor."""
    return {name: list(dims) for name, dims in getattr(model, _CUT, {}).items()}


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
        ``format``, ``shapes`` (every tensor's, by name), ``cut`` (dimensions that have lost
        channels, by tensor), ``kept`` and ``dense_channels``.
    """
    return {
        'format': FORMAT_VERSION,
        'shapes': {name: list(t.shape) for name, t in saved_tensors(model).items()},
        'cut': pruned_dims(model),
        'kept': {name: list(channels) for name, channels in kept.items()},
        'dense_channels': dict(dense_channels),
    }


def shrink(
    model: nn.Module,
    shapes: Mapping[str, Shape],
    *,
    cut: Mapping[str, Sequence[int]] | None = None,
) -> bool:
    """Give the tensors of ``model`` the channels that they have in ``shapes``, in place.

    Only dimensions in ``cut`` are touched. Others may differ, as an output layer's of another
    number of classes, and are left to whatever loads the weights. Parameters stay the same
    objects, so that an optimizer built before stays valid. Values of tensors that shrink are
    those of the leading channels, and meant to be overwritten by a checkpoint's.

    Args:
        model: The dense model, or one pruned less.
        shapes: Shapes by dotted name.
        cut: Dimensions that lost channels, by dotted name; empty for a dense network. None if the
            checkpoint does not say (older ones do not): all dimensions then, unless no layer
            reads fewer channels, for then none were cut.

    Returns:
        Whether anything shrank.

    Raises:
        ValueError: If something was cut and a tensor is missing on either side, or has more
            channels in ``shapes`` than in the model; names the tensor and both shapes.
    """
    tensors = saved_tensors(model)
    if cut is None and _is_whole(model, tensors, shapes):
        cut = {}
    if cut is not None and not cut:
        return False
    missing = sorted(set(tensors) - set(shapes))
    unknown = sorted(set(shapes) - set(tensors))
    if missing or unknown:
        raise ValueError(
            f'the checkpoint does not fit the model: {_names(missing, "lacks")}'
            f'{"; " if missing and unknown else ""}{_names(unknown, "has the unknown")}. '
            f'Is this the config it was trained with?'
        )
    targets = {}
    for name, tensor in tensors.items():
        there, own = tuple(shapes[name]), tuple(tensor.shape)
        dims = range(len(own)) if cut is None else cut.get(name, ())
        if there == own or (cut is not None and not dims):
            continue
        if len(there) != len(own) or not all(0 < there[dim] <= own[dim] for dim in dims):
            raise ValueError(
                f'the checkpoint does not fit the model: {name} has shape {there} there and '
                f'{own} in the model, and a pruned tensor is never larger. '
                f'Is this the config it was trained with?'
            )
        targets[name] = tuple(there[dim] if dim in dims else n for dim, n in enumerate(own))

    before = {name: t.shape for name, t in tensors.items()}
    changed = False
    for name, target in targets.items():
        tensor = tensors[name]
        if target != tuple(tensor.shape):
            tensor.data = tensor.data[tuple(slice(n) for n in target)].clone()
            tensor.grad = None
            changed = True
    if changed:
        sync_modules(model, before)
    return changed


def _is_whole(model: nn.Module, tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> bool:
    """Whether every layer reads as many channels in ``shapes`` as in the model.

    Channels that are cut are missing where they are read; classes are read by no layer.
    """
    transposed = {
        f'{prefix}.weight'
        for prefix, module in model.named_modules()
        if isinstance(module, nn.modules.conv._ConvTransposeNd)
    }

    def reads(name: str, shape: Shape) -> Shape:
        return shape[:1] if name in transposed else shape[1:]

    return all(
        tuple(reads(name, shapes[name])) == tuple(reads(name, tensor.shape))
        for name, tensor in tensors.items()
        if name in shapes
    )


def check_shapes(model: nn.Module, shapes: Mapping[str, Shape]) -> None:
    """Refuse weights that a model can't take all of, where it is not to be trained.

    Raises:
        ValueError: If a tensor has another shape; names it and both shapes.
    """
    for name, tensor in saved_tensors(model).items():
        if tuple(shapes.get(name, tensor.shape)) != tuple(tensor.shape):
            raise ValueError(
                f'the checkpoint does not fit the model: {name} has shape {tuple(shapes[name])} '
                f'there and {tuple(tensor.shape)} in the model. Is this the config it was '
                f'trained with?'
            )


def sync_modules(model: nn.Module, before: Mapping[str, torch.Size]) -> None:
    """Make the modules' own channel counts agree with their tensors, and note what was cut.

    Args:
        model: A model some of whose tensors have just shrunk.
        before: Shapes before, by dotted name.
    """
    _note_pruned(model, before)
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


def _note_pruned(model: nn.Module, before: Mapping[str, torch.Size]) -> None:
    # On the model itself, which copies take along, whoever cuts it or writes its checkpoint.
    old = {id(t): before[name] for name, t in named_tensors(model).items() if name in before}
    noted = pruned_dims(model)
    for name, tensor in saved_tensors(model).items():
        pairs = zip(old.get(id(tensor), tensor.shape), tensor.shape, strict=True)
        dims = {dim for dim, (was, now) in enumerate(pairs) if was != now}
        if dims:
            noted[name] = sorted(dims.union(noted.get(name, ())))
    setattr(model, _CUT, noted)


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


def mark_pruned(
    state_dict: dict[str, Tensor], *, cut: Mapping[str, Sequence[int]] | None = None
) -> None:
    """Note in a model's state dict that its structure is smaller than its config says.

    Args:
        state_dict: Of the pruned model.
        cut: Its :func:`~adasap_det.checkpoint.structure.pruned_dims`; without them every dimension
            counts as one that may have lost channels.
    """
    metadata = getattr(state_dict, '_metadata', None)
    if metadata is None:
        metadata = OrderedDict()
        state_dict._metadata = metadata  # type: ignore[attr-defined]
    mark = {'format': FORMAT_VERSION, 'cut': None if cut is None else dict(cut)}
    metadata[''] = {**metadata.get('', {}), META_KEY: mark}
