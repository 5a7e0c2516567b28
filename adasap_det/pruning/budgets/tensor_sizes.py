"""Sizes of every tensor as a function of the channels kept, without pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from adasap_det.pruning.graph.channel_group import ChannelGroup

Along = tuple[tuple[str, float], ...]
"""Positions per channel, for each group along a dimension."""


class TensorSizes:
    """Size of each dimension of each parameter, as a function of how many channels groups keep.

    Args:
        model: The model that ``groups`` were found in.
        groups: Its channel groups.
    """

    def __init__(self, model: nn.Module, groups: Sequence[ChannelGroup]) -> None:
        along: dict[tuple[str, int], list[tuple[str, float]]] = {}
        covered: dict[tuple[str, int], int] = {}
        for group in groups:
            for piece in group.slices:
                key = piece.name, piece.dim
                count = piece.positions.numel()
                along.setdefault(key, []).append((group.name, count / group.size))
                covered[key] = covered.get(key, 0) + count
        self.full = {group.name: group.size for group in groups}
        self._dims = {
            name: tuple(
                (size - covered.get((name, dim), 0), tuple(along.get((name, dim), ())))
                for dim, size in enumerate(parameter.shape)
            )
            for name, parameter in model.named_parameters()
        }

    def dims(self, name: str) -> tuple[tuple[float, Along], ...]:
        """Of each dimension of a parameter: what no group touches, and what each group adds."""
        return self._dims[name]


def size_with(dim: tuple[float, Along], kept: Mapping[str, int]) -> float:
    """Size of one dimension with ``kept`` channels by group name."""
    constant, along = dim
    return constant + sum(per_channel * kept[name] for name, per_channel in along)
