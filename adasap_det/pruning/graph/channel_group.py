"""Channel groups: slices of tensors that are pruned together.

Plain data for the importance, the budget and the surgery.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class TensorSlice:
    """Positions along one dimension of a parameter or buffer, and the channel each belongs to.

    Attributes:
        name: Dotted name of the tensor in the model.
        dim: The dimension.
        positions: Integer tensor, shape ``(K,)``.
        channels: Channel in the group of each position, shape ``(K,)``.
    """

    name: str
    dim: int
    positions: Tensor
    channels: Tensor

    def index_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Positions and channels on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = self.positions.to(device), self.channels.to(device)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}


@dataclass(frozen=True)
class ChannelGroup:
    """Channels coupled by residual adds, depthwise convolutions, norms, concats and similar.

    Attributes:
        name: Dotted name of one of the layers that compute them, the same at every analysis.
        size: Number of channels.
        own: Slices that compute the channels: filters, biases, norm parameters and statistics.
        consumers: Slices that read them: input channels of the layers that follow.
        layers: Names of the convolutions and linear layers that compute the channels.
        norms: Names of the norm layers over them.
        parts: Grouped convolutions, group norms and concats require that each of ``parts`` equal
            parts of the channels loses the same ones; 1 if there are no such layers.
        width: Positions of one channel in the layers that compute it: the channels of an attention
            head, otherwise 1.
        mixed_by: Name of an operator that combines the channels with each other, a layer norm for
            instance; empty if there is none.
    """

    name: str
    size: int
    own: tuple[TensorSlice, ...]
    consumers: tuple[TensorSlice, ...]
    layers: tuple[str, ...]
    norms: tuple[str, ...] = ()
    parts: int = 1
    width: int = 1
    mixed_by: str = ''

    @property
    def slices(self) -> tuple[TensorSlice, ...]:
        """All slices, those that compute the channels and those that read them."""
        return self.own + self.consumers

    def same_as(self, other: ChannelGroup) -> bool:
        """Whether another group has the same channels, at the same positions."""
        return (
            (self.name, self.size, self.parts) == (other.name, other.size, other.parts)
            and len(self.slices) == len(other.slices)
            and all(
                (a.name, a.dim) == (b.name, b.dim)
                and torch.equal(a.positions, b.positions)
                and torch.equal(a.channels, b.channels)
                for a, b in zip(self.slices, other.slices, strict=True)
            )
        )

    @cached_property
    def segments(self) -> tuple[Tensor, ...]:
        """Sets of channels that make up a tensor with only some of the group's channels.

        After a concat several layers belong to one group, or one layer reads a part of it. Of each
        set one channel must be kept, or that layer would have none.
        """
        found = {}
        for piece in self.slices:
            channels = piece.channels.unique()
            if 0 < channels.numel() < self.size:
                found[channels.numpy().tobytes()] = channels
        return tuple(found.values())


@dataclass
class ChannelAnalysis:
    """The prunable channel groups of a model, and why other layers are skipped.

    Attributes:
        groups: The prunable groups, in an order that is the same at every analysis.
        skipped: Reason by layer, for layers whose channels are not pruned.
        permutation_error: Largest difference of the outputs, relative to their scale, with the
            groups' channels in another order; of rounding only.
        approximate: Reason by name of each group for which channels that are zero, in all their
            slices, differ from channels that are removed, a layer norm over them for instance.
            For all other groups both give the same outputs.
    """

    groups: list[ChannelGroup]
    skipped: dict[str, str] = field(default_factory=dict)
    permutation_error: float = 0.0
    approximate: dict[str, str] = field(default_factory=dict)


def without_channels(group: ChannelGroup, kept: Tensor, moved: dict) -> ChannelGroup:
    """The group after a prune step.

    Args:
        group: The group before.
        kept: Channels that are kept, ascending.
        moved: By tensor name and dimension, the new position of each old one, -1 if it was removed.
    """
    renumbered = torch.full((group.size,), -1)
    renumbered[kept] = torch.arange(kept.numel())

    def reduced(piece: TensorSlice) -> TensorSlice:
        stays = renumbered[piece.channels] >= 0
        positions = moved[piece.name, piece.dim][piece.positions[stays]]
        return replace(piece, positions=positions, channels=renumbered[piece.channels[stays]])

    return replace(
        group,
        size=kept.numel(),
        own=tuple(reduced(piece) for piece in group.own),
        consumers=tuple(reduced(piece) for piece in group.consumers),
    )
