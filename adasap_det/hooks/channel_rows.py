"""The channel that each row of a model's parameters belongs to.

Channels are counted over all groups in their order; rows of no group have channel -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from adasap_det.optim.perturbation import Rows
from adasap_det.pruning.graph.channel_group import ChannelGroup, TensorSlice


def channel_rows(model: nn.Module, groups: Sequence[ChannelGroup]) -> dict[nn.Parameter, Rows]:
    """The channel that each row of each parameter computes."""
    found = _rows(model, ((group, group.own) for group in groups))
    return {parameter: along[0] for parameter, along in found.items()}


def removal_rows(
    model: nn.Module, groups: Sequence[ChannelGroup]
) -> dict[nn.Parameter, list[Rows]]:
    """The channel that each row computes or reads, along every dimension of each parameter."""
    return _rows(model, ((group, group.slices) for group in groups))


def _rows(
    model: nn.Module, slices: Iterable[tuple[ChannelGroup, Sequence[TensorSlice]]]
) -> dict[nn.Parameter, list[Rows]]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: dict[nn.Parameter, dict[int, Rows]] = {}
    offset = 0
    for group, pieces in slices:
        for piece in pieces:
            parameter = parameters.get(piece.name)
            if parameter is None:  # a buffer
                continue
            along = found.setdefault(parameter, {})
            if piece.dim not in along:
                ball = torch.full((parameter.shape[piece.dim],), -1, device=parameter.device)
                along[piece.dim] = Rows(piece.dim, ball)
            ball = along[piece.dim].ball
            ball[piece.positions.to(ball.device)] = (offset + piece.channels).to(ball.device)
        offset += group.size
    return {parameter: list(along.values()) for parameter, along in found.items()}
