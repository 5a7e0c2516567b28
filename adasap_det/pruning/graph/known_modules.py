"""Channel groups that follow from the class of a module, without a trace.

Attention heads, which a trace does not show as channels, and the MLPs of transformers that a trace
does not reach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adasap_det.checkpoint.attention_layout import (
    AttentionLayout,
    HeadTensor,
    attention_layout,
    dotted,
    original_class,
)
from adasap_det.utils.name_patterns import matches

from .channel_group import ChannelAnalysis, ChannelGroup, TensorSlice

FFN = 'mmcv.cnn.bricks.transformer.FFN'


def add_known_modules(
    analysis: ChannelAnalysis, model: nn.Module, *, exclude: Sequence[str] = ()
) -> None:
    """Add the groups of attention modules and of MLPs to those that were traced, in place.

    Traced groups that contain a part of a head are dropped: heads are removed as a whole. MLPs
    that were traced, or skipped with a reason, are left as they are.

    Args:
        analysis: Traced groups of the model.
        model: The model. Modules whose weights need no gradient are skipped: the model itself
            freezes them.
        exclude: Name patterns of layers whose channels are not pruned.
    """
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    named = model.named_parameters(remove_duplicate=False)
    shared = {name for name, parameter in named if uses[id(parameter)] > 1}
    for prefix, module in model.named_modules():
        layout = attention_layout(module)
        if layout is not None:
            layers = [dotted(prefix, layer) for layer in layout.layers]
            reason = layout.unsupported(module)
            group = None if reason else _head_group(prefix, module, layout)
        elif _is_ffn(module):
            layers = [dotted(prefix, 'layers.0.0')]
            reason, group = None, _hidden_group(prefix, module)
            if layers[0] in analysis.skipped or _share_positions(group, analysis.groups):
                continue
        else:
            continue
        if group is None:
            reason = reason or f'the projections of {prefix} are no plain linear layers'
        else:
            reason = _reason_to_skip(group, model, shared, exclude)
        if group is None or reason is not None:
            analysis.skipped.update(dict.fromkeys(layers, reason or ''))
            continue
        dropped = _share_positions(group, analysis.groups)
        analysis.groups = [each for each in analysis.groups if each.name not in dropped]
        analysis.groups.append(group)
        for layer in layers:
            analysis.skipped.pop(layer, None)


def _head_group(prefix: str, module: nn.Module, layout: AttentionLayout) -> ChannelGroup | None:
    """Heads of an attention module; None if it lacks a projection."""
    own = layout.present(module, layout.own)
    consumers = layout.present(module, layout.consumers)
    projections = {each.name.rpartition('.')[0] for each in own}
    if not consumers or not projections.issuperset(layout.layers):
        return None
    num_heads: int = module.num_heads  # type: ignore[assignment]

    def piece(each: HeadTensor, tensor: Tensor) -> TensorSlice:
        size = tensor.shape[each.dim]
        return TensorSlice(
            dotted(prefix, each.name), each.dim, torch.arange(size), each.heads(size, num_heads)
        )

    first, tensor = next(iter(own.items()))
    return ChannelGroup(
        name=dotted(prefix, layout.layers[0]),
        size=num_heads,
        own=tuple(piece(*item) for item in own.items()),
        consumers=tuple(piece(*item) for item in consumers.items()),
        layers=tuple(dotted(prefix, layer) for layer in layout.layers),
        width=first.width(tensor.shape[first.dim], num_heads),
    )


def _is_ffn(module: nn.Module) -> bool:
    kind = original_class(module)
    return f'{kind.__module__}.{kind.__qualname__}' == FFN and bool(module.num_fcs == 2)


def _hidden_group(prefix: str, module: nn.Module) -> ChannelGroup:
    """Hidden channels of mmcv's FFN with two linear layers."""
    first, second = dotted(prefix, 'layers.0.0'), dotted(prefix, 'layers.1')
    size = module.get_parameter('layers.0.0.weight').shape[0]
    every = torch.arange(size)
    return ChannelGroup(
        name=first,
        size=size,
        own=(
            TensorSlice(f'{first}.weight', 0, every, every),
            TensorSlice(f'{first}.bias', 0, every, every),
        ),
        consumers=(TensorSlice(f'{second}.weight', 1, every, every),),
        layers=(first,),
    )


def _reason_to_skip(
    group: ChannelGroup, model: nn.Module, shared: set[str], exclude: Sequence[str]
) -> str | None:
    owners = dict.fromkeys(piece.name.rpartition('.')[0] for piece in group.own)
    excluded = [name for name in owners if matches(name, exclude)]
    if excluded:
        return f'{excluded[0]} is excluded'
    tied = [piece.name for piece in group.slices if piece.name in shared]
    if tied:
        return f'{tied[0]} is shared with another module'
    if not all(model.get_parameter(piece.name).requires_grad for piece in group.own):
        return f'{group.name} is frozen by the model itself'
    return None


def _share_positions(group: ChannelGroup, others: Sequence[ChannelGroup]) -> list[str]:
    """Names of the ``others`` that touch the same dimension of a tensor as ``group``."""
    ours = {(piece.name, piece.dim) for piece in group.slices}
    return [
        other.name
        for other in others
        if not ours.isdisjoint((piece.name, piece.dim) for piece in other.slices)
    ]
