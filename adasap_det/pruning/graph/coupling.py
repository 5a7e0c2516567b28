"""Torch-Pruning's groups of coupled channels as plain data."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch_pruning as tp
from torch import nn

from .channel_group import ChannelGroup, TensorSlice

NORM_TYPES = (
    nn.modules.batchnorm._NormBase,  # batch and instance norm, SyncBN
    nn.GroupNorm,
    nn.LayerNorm,
)

_STRUCTURAL = {
    tp.ops.OPTYPE.CONCAT,
    tp.ops.OPTYPE.SPLIT,
    tp.ops.OPTYPE.UNBIND,
    tp.ops.OPTYPE.EXPAND,
    tp.ops.OPTYPE.SLICE,
    tp.ops.OPTYPE.RESHAPE,
    tp.ops.OPTYPE.ELEMENTWISE,
    tp.ops.OPTYPE.OUTPUT,
}


class UnprunableError(Exception):
    """Carries the reason why a group can't be pruned."""


def to_channel_group(
    root: str, tp_group: tp.Group, graph: tp.DependencyGraph, names: dict
) -> ChannelGroup:
    """Our plain data of one of Torch-Pruning's groups.

    Args:
        root: Name of the layer that the group is found from.
        tp_group: The group.
        graph: Its graph.
        names: Dotted name of each module and parameter.

    Raises:
        UnprunableError: If it cannot be pruned; the message is the reason.
    """
    size = graph.get_out_channels(tp_group[0].dep.target.module)
    own: dict[tuple, TensorSlice] = {}
    consumers: dict[tuple, TensorSlice] = {}
    layers: list[str] = []
    norms: list[str] = []
    parts = 1
    for item in tp_group.items:
        node, handler = item.dep.target, item.dep.handler
        module = node.module
        produces = graph.is_out_channel_pruning_fn(handler)
        if produces and not node.outputs:
            raise UnprunableError(f'{names.get(module, root)} is an output of the model')
        if node.type in _STRUCTURAL:
            continue
        if module not in names:
            raise UnprunableError(f'Torch-Pruning meets an unnamed {module}')
        name = names[module]
        positions = torch.tensor(item.idxs)
        channels = torch.tensor(item.root_idxs)
        tensors, part, consumes = _tensors_of(name, module, node, reads=not produces)
        if consumes:
            target = consumers
        else:
            target = own
            if isinstance(module, NORM_TYPES):
                norms.append(name)
            elif isinstance(module, nn.Module) and name not in layers:
                layers.append(name)
        if part > 1 and not len(item.idxs) == size == _channels_of(module, produces):
            raise UnprunableError(f'{name} takes them in {part} parts together with others')
        parts = math.lcm(parts, part)
        for tensor_name, dim, length in tensors:
            inside = positions < length  # a grouped convolution's filters see one part only
            piece = TensorSlice(tensor_name, dim, positions[inside], channels[inside])
            target[tensor_name, dim, piece.positions[:1].item()] = piece
    if size % parts:
        raise UnprunableError(f'{size} channels do not divide into {parts} parts')
    group = ChannelGroup(
        name=root,
        size=size,
        own=tuple(own.values()),
        consumers=tuple(consumers.values()),
        layers=tuple(layers),
        norms=tuple(dict.fromkeys(norms)),
        parts=parts,
    )
    return replace(group, parts=math.lcm(parts, _equal_shares(group)))


def _equal_shares(group: ChannelGroup) -> int:
    """Number of equal consecutive parts that the layers of a concat compute.

    They lose the same channels, so that their sizes can be rounded and their costs predicted; where
    sizes differ, the cost of pruning is that of pruning all of them equally.
    """
    parts = sorted(group.segments, key=lambda channels: int(channels[0]))
    if not parts or {part.numel() for part in parts} != {group.size // len(parts)}:
        return 1
    return len(parts) if torch.equal(torch.cat(parts), torch.arange(group.size)) else 1


def _channels_of(module: nn.Module, produces: bool) -> int:
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    return module.out_channels if produces else module.in_channels  # type: ignore[return-value]


def _tensors_of(
    name: str, module: nn.Module | nn.Parameter, node: object, *, reads: bool
) -> tuple[list[tuple[str, int, int]], int, bool]:
    """Tensors of a layer along its channels: name, dimension, length; parts; whether it reads."""
    if isinstance(module, nn.Parameter):
        dim = node.pruning_dim % module.dim()  # type: ignore[attr-defined]
        return [(name, dim, module.shape[dim])], 1, False
    if isinstance(module, nn.modules.conv._ConvNd):
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        depthwise = module.groups == module.in_channels and module.weight.shape[1] == 1
        if depthwise and module.out_channels == module.in_channels > 1:
            return _along(name, module, {'weight': 0, 'bias': 0}), 1, False
        if transposed and module.groups > 1:
            raise UnprunableError(f'{name} is a grouped transposed convolution')
        parts = module.groups
        if reads:
            return _along(name, module, {'weight': 0 if transposed else 1}), parts, True
        return _along(name, module, {'weight': 1 if transposed else 0, 'bias': 0}), parts, False
    if isinstance(module, nn.Linear):
        dims = {'weight': 1} if reads else {'weight': 0, 'bias': 0}
        return _along(name, module, dims), 1, reads
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
        raise UnprunableError(f'{name} normalises over more than the channels')
    if isinstance(module, NORM_TYPES):
        parts = module.num_groups if isinstance(module, nn.GroupNorm) else 1
        dims = {'weight': 0, 'bias': 0, 'running_mean': 0, 'running_var': 0}
        return _along(name, module, dims), parts, False
    if isinstance(module, nn.PReLU):
        return _along(name, module, {'weight': 0} if module.num_parameters > 1 else {}), 1, False
    raise UnprunableError(f'{name} is a {type(module).__name__}, which is not supported')


def _along(name: str, module: nn.Module, dims: dict[str, int]) -> list[tuple[str, int, int]]:
    tensors = [
        (attribute, dim, getattr(module, attribute, None)) for attribute, dim in dims.items()
    ]
    return [(f'{name}.{a}', dim, t.shape[dim]) for a, dim, t in tensors if t is not None]
