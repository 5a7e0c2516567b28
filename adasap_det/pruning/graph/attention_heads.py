"""Attention heads as channel groups: they follow from the class of a module, without a trace."""

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
)
from adasap_det.utils.name_patterns import matches

from .channel_group import ChannelAnalysis, ChannelGroup, TensorSlice


def head_groups(model: nn.Module, *, exclude: Sequence[str] = ()) -> ChannelAnalysis:
    """Groups of the heads of every attention module of a known class.

    Args:
        model: The model. Modules whose weights need no gradient are skipped: the model itself
            freezes them.
        exclude: Name patterns of layers whose channels are not pruned.

    Returns:
        The groups, and the projections of attention modules whose heads cannot be removed, with
        the reasons.
    """
    analysis = ChannelAnalysis(groups=[])
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    named = model.named_parameters(remove_duplicate=False)
    shared = {name for name, parameter in named if uses[id(parameter)] > 1}
    for prefix, module in model.named_modules():
        layout = attention_layout(module)
        if layout is None:
            continue
        reason = layout.unsupported(module)
        group = None if reason else _head_group(prefix, module, layout)
        if group is None:
            reason = reason or f'the projections of {prefix} are no plain linear layers'
        else:
            reason = _reason_to_skip(group, model, shared, exclude)
        if group is None or reason is not None:
            layers = [dotted(prefix, layer) for layer in layout.layers]
            analysis.skipped.update(dict.fromkeys(layers, reason or ''))
        else:
            analysis.groups.append(group)
    return analysis


def _head_group(prefix: str, module: nn.Module, layout: AttentionLayout) -> ChannelGroup | None:
    """Heads of an attention module; None if it lacks a projection."""
    own = layout.present(module, layout.own)
    consumers = layout.present(module, layout.consumers)
    projections = {each.name.rpartition('.')[0] for each in own}
    if not consumers or not projections.issuperset(layout.layers):
        return None
    num_heads = layout.num_heads(module)

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
