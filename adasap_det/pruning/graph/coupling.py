"""Channel groups: the connected components of the links, sorted by the tensors they touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from .channel_group import ChannelGroup, TensorSlice
from .channel_labels import Axis, Links
from .operator_rules import COUNTING

LAYER_TYPES = (nn.modules.conv._ConvNd, nn.Linear)
NORM_TYPES = (
    nn.modules.batchnorm._NormBase,  # batch and instance norm, SyncBN
    nn.GroupNorm,
    nn.LayerNorm,
)


@dataclass(frozen=True)
class Coupled:
    """Channels with the same couplings, and why they cannot be removed if so.

    Attributes:
        group: The channels as a group.
        units: Their units, to trace them another way.
        reason: Why they cannot be removed; None if they can.
    """

    group: ChannelGroup
    units: Tensor
    reason: str | None


def coupled_channels(model: nn.Module, links: Links) -> list[Coupled]:
    """Everything that layers of the model compute, in the order of the layers.

    Args:
        model: The model that was traced.
        links: What the forward passes have shown.
    """
    component = _components(links)
    axes = links.axes
    is_read = np.zeros(links.num_units, bool)
    for summed in links.read:
        is_read[summed.numpy()] = True
    read = [bool(is_read[axis.first]) for axis in axes]
    reasons: dict[int, str] = {}
    for fixed, why in links.fixed:
        for each in np.unique(component[fixed.numpy()]):
            reasons.setdefault(int(each), why)

    axis_of = np.repeat(np.arange(len(axes)), [axis.size for axis in axes])
    order = np.lexsort((np.arange(links.num_units), component))
    bounds = np.flatnonzero(np.diff(component[order])) + 1
    by_signature: dict[bytes, list[np.ndarray]] = {}
    for units, on in zip(np.split(order, bounds), np.split(axis_of[order], bounds), strict=True):
        signature = on[np.flatnonzero(np.diff(on, prepend=-1))]  # units ascend, so axes do
        by_signature.setdefault(signature.tobytes(), []).append(units)

    owners = _Owners(model)
    found = []
    for members in by_signature.values():
        signature = np.unique(axis_of[members[0]]).tolist()
        own = [i for i in signature if not read[i] and axes[i].name in links.used]
        made = [i for i in own if owners.layer(axes, i, read) is not None]
        if made:
            group, all_units = _to_group(axes, signature, set(own), made, members, axis_of, owners)
            reason = next(
                (reasons[int(component[u[0]])] for u in members if component[u[0]] in reasons),
                None,
            )
            found.append(Coupled(group, all_units, reason))
    position = {name: i for i, name in enumerate(dict(model.named_modules()))}
    return sorted(found, key=lambda c: (position[c.group.layers[0]], int(c.units[0])))


def _components(links: Links) -> np.ndarray:
    if links.edges:
        rows, columns = torch.cat(links.edges, dim=1).numpy()
    else:
        rows = columns = np.zeros(0, np.int64)
    size = links.num_units
    matrix = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(size, size))
    return connected_components(matrix, directed=False)[1]


class _Owners:
    """Modules that tensors belong to."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())

    def module(self, tensor: str) -> tuple[str, nn.Module]:
        """The module of a tensor, also of a reparametrised one."""
        name = tensor.rpartition('.')[0].partition('.parametrizations')[0]
        if tensor.startswith('parametrizations.'):
            name = ''
        return name, self._modules[name]

    def layer(self, axes: Sequence[Axis], index: int, read: Sequence[bool]) -> str | None:
        """Name of the layer that computes the channels of an axis with a weight, if any does."""
        axis = axes[index]
        name, module = self.module(axis.name)
        if isinstance(module, LAYER_TYPES):
            return name
        other = (i for i in (index - 1, index + 1) if 0 <= i < len(axes))
        reads = any(read[i] and axes[i].name == axis.name for i in other)
        return name if reads else None


def _to_group(
    axes: Sequence[Axis],
    signature: Sequence[int],
    own: set[int],
    made: Sequence[int],
    members: list[np.ndarray],
    axis_of: np.ndarray,
    owners: _Owners,
) -> tuple[ChannelGroup, Tensor]:
    """A group of the components with one signature, numbered along the first layer's channels."""
    first = made[0]
    starts = [int(units[np.searchsorted(axis_of[units], first)]) for units in members]
    members = [members[i] for i in np.argsort(starts)]
    count = len(members)
    units = np.concatenate(members)
    channel = np.repeat(np.arange(count), [len(each) for each in members])
    on = axis_of[units]
    parts = _equal_parts(units[on == first], channel[on == first], count)
    slices: dict[int, TensorSlice] = {}
    for i in signature:
        places, of = units[on == i] - axes[i].first, channel[on == i]
        per_channel = np.bincount(of, minlength=count)
        rank = np.arange(len(of)) - np.searchsorted(of, of)
        part = rank * parts // np.maximum(per_channel[of], parts)
        ascending = np.argsort(places)
        slices[i] = TensorSlice(
            axes[i].name,
            axes[i].dim,
            torch.from_numpy(places[ascending]),
            torch.from_numpy((part * count + of)[ascending]),
        )
    names = [owners.module(axes[i].name) for i in signature if i in own]
    layers = dict.fromkeys(owners.module(axes[i].name)[0] for i in made)
    group = ChannelGroup(
        name=next(iter(layers)),
        size=count * parts,
        own=tuple(slices[i] for i in signature if i in own),
        consumers=tuple(slices[i] for i in signature if i not in own),
        layers=tuple(layers),
        norms=tuple(dict.fromkeys(n for n, module in names if isinstance(module, NORM_TYPES))),
        parts=parts,
        width=slices[first].positions.numel() // (count * parts),
    )
    return group, torch.from_numpy(units)


def _equal_parts(units: np.ndarray, channel: np.ndarray, count: int) -> int:
    """Number of equal consecutive parts that lose the same channels; 1 for another layout."""
    parts, rest = divmod(len(units), count)
    if rest or not np.array_equal(channel, np.repeat(np.arange(count), parts)):
        return 1
    expected = units[0] + np.arange(parts)[None] * count + np.arange(count)[:, None]
    return parts if np.array_equal(units.reshape(count, parts), expected) else 1


def noting_mixed(groups: Sequence[ChannelGroup], links: Links) -> list[ChannelGroup]:
    """The same with the operator that combines their channels, where the trace has seen one.

    Of several it is one whose result depends on the number of channels, if there is one.
    """
    operators = sorted({name for _, name in links.mixed}, key=lambda name: name not in COUNTING)
    rank = {name: i for i, name in enumerate([*operators, ''])}
    mixed_by = torch.full((links.num_units,), rank[''])
    for units, name in links.mixed:
        mixed_by[units] = mixed_by[units].clamp(max=rank[name])
    first = {(axis.name, axis.dim): axis.first for axis in links.axes}
    noted = []
    for group in groups:
        ranks = [
            int(mixed_by[first[piece.name, piece.dim] + piece.positions].min())
            for piece in group.slices
            if (piece.name, piece.dim) in first  # a single head's has no unit
        ]
        noted.append(replace(group, mixed_by=[*operators, ''][min(ranks)]))
    return noted


def unique_names(found: Sequence[Coupled]) -> list[Coupled]:
    """The same with a name of its own for each group: several share a layer after a split."""
    count: dict[str, int] = {}
    renamed = []
    for each in found:
        name = each.group.name
        count[name] = count.get(name, 0) + 1
        if count[name] > 1:
            name = f'{name}#{count[name]}'
        renamed.append(replace(each, group=replace(each.group, name=name)))
    return renamed


def layer_reasons(found: Sequence[Coupled], used: set[str], model: nn.Module) -> dict[str, str]:
    """Reason for each layer that is in no group."""
    reasons: dict[str, str] = {}
    for each in found:
        if each.reason is not None:
            for layer in each.group.layers:
                reasons.setdefault(layer, each.reason)
    for name in layers_not_run(model, used):
        reasons.setdefault(name, f'{name} is not run by the traced forward pass')
    return reasons


def layers_not_run(model: nn.Module, used: set[str]) -> list[str]:
    """Layers none of whose parameters are among the tensors ``used``."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, LAYER_TYPES)
        and not any(names[id(parameter)] in used for parameter in module.parameters())
    ]
