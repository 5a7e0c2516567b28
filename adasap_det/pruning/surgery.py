"""Remove channels and blocks from a live model, its optimizer's state and its averaged copies.

Every parameter stays the same object, with smaller data, so that optimizers, schedulers and hooks
that hold it remain valid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adasap_det.checkpoint.module_sync import sync_modules
from adasap_det.checkpoint.removed_blocks import is_inside
from adasap_det.checkpoint.structure import named_tensors, note_groups, note_pruning
from adasap_det.checkpoint.structure import remove_blocks as remove_from

from .graph.channel_group import ChannelGroup, without_channels
from .optimizer_state import check_state


def prune_channels(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    kept: Mapping[str, Tensor],
    *,
    optimizers: Sequence[Optimizer] = (),
    copies: Sequence[nn.Module] = (),
) -> list[ChannelGroup]:
    """Remove all but the ``kept`` channels of every group.

    Args:
        model: The bare model (not its DDP wrapper).
        groups: Its channel groups.
        kept: Channels to keep, ascending, by group name; a group not named keeps all.
        optimizers: Optimizers of its parameters; state shaped like a parameter is pruned with it.
        copies: Models of the same structure, for instance averaged ones, pruned alike.

    Returns:
        The groups as they are afterwards.

    Raises:
        ValueError: If a group would be left empty, or an optimizer keeps state of a shape that
            cannot be pruned (a factored second moment, for instance).
    """
    for group in groups:
        if group.name in kept and kept[group.name].numel() == 0:
            raise ValueError(f'{group.name} would be left without channels')
    positions = _kept_positions(model, groups, kept)
    parameters = {id(p): name for name, p in model.named_parameters() if name in positions}
    for optimizer in optimizers:
        check_state(optimizer, parameters)

    # Optimizer state first, while the parameters still have the shapes that it is compared with.
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            if id(parameter) in parameters:
                dims = positions[parameters[id(parameter)]]
                for key, value in state.items():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        state[key] = _gather(value, dims)
    for each in (model, *copies):
        note_groups(each, {group.name: group.size for group in groups})
        before = {name: t.shape for name, t in named_tensors(each).items()}
        for name, tensor in named_tensors(each).items():
            if name in positions:
                _replace(tensor, _gather(tensor.data, positions[name]))
        sync_modules(each, before)
        note_pruning(each, before, {name: channels.tolist() for name, channels in kept.items()})
    moved = _new_positions(positions, groups)
    return [
        without_channels(group, kept.get(group.name, torch.arange(group.size)), moved)
        for group in groups
    ]


def prune_selected(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    kept: Mapping[str, Tensor],
    *,
    optimizers: Sequence[Optimizer] = (),
    copies: Sequence[nn.Module] = (),
) -> list[ChannelGroup]:
    """Remove what a selection does not keep: channels, and blocks as a whole.

    Args:
        model, groups, optimizers, copies: See :func:`prune_channels`.
        kept: Channels to keep, ascending, by group name, and by name of a block one element if it
            stays and none if it goes.

    Returns:
        The groups as they are afterwards, without those inside of a removed block.

    Raises:
        ValueError: As :func:`prune_channels`; the model is unchanged then.
    """
    own = {group.name for group in groups}
    removed = [name for name, which in kept.items() if name not in own and not which.numel()]
    channels = {n: k for n, k in kept.items() if n in own and not is_inside(n, removed)}
    groups = prune_channels(model, groups, channels, optimizers=optimizers, copies=copies)
    if removed:
        groups = remove_blocks(model, groups, removed, optimizers=optimizers, copies=copies)
    return groups


def remove_blocks(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    names: Collection[str],
    *,
    optimizers: Sequence[Optimizer] = (),
    copies: Sequence[nn.Module] = (),
) -> list[ChannelGroup]:
    """Replace residual blocks by identities; the channels that they add to stay.

    Args:
        model: The bare model (not its DDP wrapper).
        groups: Its channel groups.
        names: Dotted names of blocks that
            :func:`~adasap_det.pruning.graph.residual_blocks.find_residual_blocks` found.
        optimizers: Optimizers of its parameters; those of the blocks leave them.
        copies: Models of the same structure, for instance averaged ones.

    Returns:
        The groups as they are afterwards, without those inside of a block.
    """
    before = list(model.parameters())
    for each in (model, *copies):
        remove_from(each, [*names])
    for optimizer in optimizers:
        drop_parameters(optimizer, before, model)
    left = []
    for group in groups:
        if not is_inside(group.name, names):
            own, consumers = (
                tuple(piece for piece in pieces if not is_inside(piece.name, names))
                for pieces in (group.own, group.consumers)
            )
            layers, norms = (
                tuple(name for name in of if not is_inside(name, names))
                for of in (group.layers, group.norms)
            )
            left.append(replace(group, own=own, consumers=consumers, layers=layers, norms=norms))
    return left


def drop_parameters(optimizer: Optimizer, before: Sequence[nn.Parameter], model: nn.Module) -> None:
    """Remove parameters that the model has lost from an optimizer, with their state.

    Args:
        optimizer: An optimizer of some of them, which may also have parameters of other modules.
        before: The model's parameters before.
        model: The model now.
    """
    gone = {id(p) for p in before} - {id(p) for p in model.parameters()}
    for options in optimizer.param_groups:
        options['params'] = [p for p in options['params'] if id(p) not in gone]
    for parameter in [p for p in optimizer.state if id(p) in gone]:
        del optimizer.state[parameter]


def _kept_positions(
    model: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor]
) -> dict[str, dict[int, Tensor]]:
    """Positions that are kept, by tensor name and dimension; only of tensors that lose some."""
    tensors = named_tensors(model)
    masks: dict[tuple[str, int], Tensor] = {}
    for group in groups:
        if group.name not in kept:
            continue
        stays = torch.zeros(group.size, dtype=torch.bool)
        stays[kept[group.name]] = True
        for piece in group.slices:
            key = piece.name, piece.dim
            if key not in masks:
                masks[key] = torch.ones(tensors[piece.name].shape[piece.dim], dtype=torch.bool)
            masks[key][piece.positions] = stays[piece.channels]
    positions: dict[str, dict[int, Tensor]] = {}
    for (name, dim), mask in masks.items():
        if not bool(mask.all()):
            positions.setdefault(name, {})[dim] = mask.nonzero().flatten()
    return positions


def _new_positions(
    positions: Mapping[str, Mapping[int, Tensor]], groups: Sequence[ChannelGroup]
) -> dict[tuple[str, int], Tensor]:
    """New position of each old one along every dimension that the groups cover."""
    moved: dict[tuple[str, int], Tensor] = {}
    for group in groups:
        for piece in group.slices:
            key = piece.name, piece.dim
            length = int(piece.positions.max()) + 1 if piece.positions.numel() else 0
            stays = positions.get(piece.name, {}).get(piece.dim)
            if stays is None:
                if key not in moved or moved[key].numel() < length:
                    moved[key] = torch.arange(length)
            elif key not in moved:
                size = max(int(stays.max()) + 1, _extent(key, groups))
                moved[key] = torch.full((size,), -1)
                moved[key][stays] = torch.arange(stays.numel())
    return moved


def _extent(key: tuple[str, int], groups: Sequence[ChannelGroup]) -> int:
    return 1 + max(
        int(piece.positions.max())
        for group in groups
        for piece in group.slices
        if (piece.name, piece.dim) == key
    )


def _replace(tensor: Tensor, data: Tensor) -> None:
    """Give a tensor other data, of any shape; it has no gradient afterwards.

    A graph of an earlier step that is still alive, through its loss for instance, keeps the node
    that accumulates a parameter's gradient, which checks it against the old shape. PyTorch renews
    the node where the data type changes, so another one is set for a moment.
    """
    tensor.grad = None
    if tensor.requires_grad:
        other = torch.half if tensor.dtype == torch.float else torch.float
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = data


def _gather(tensor: Tensor, dims: Mapping[int, Tensor]) -> Tensor:
    layout = torch.channels_last if _is_channels_last(tensor) else torch.contiguous_format
    for dim, index in dims.items():
        tensor = tensor.index_select(dim, index.to(tensor.device))
    return tensor.contiguous(memory_format=layout)


def _is_channels_last(tensor: Tensor) -> bool:
    """Kernels of one pixel satisfy both layouts; which of them they get does not matter."""
    return (
        tensor.dim() == 4
        and tensor.stride(1) == 1
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
