"""The channel that each row of a model's parameters belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from adasap_det.optim.perturbation import Rows
from adasap_det.pruning.graph.channel_group import ChannelGroup


def channel_rows(model: nn.Module, groups: Sequence[ChannelGroup]) -> dict[nn.Parameter, Rows]:
    """Channel of each row of each parameter, counted over all groups in their order.

    Rows of no group have channel -1.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    rows: dict[nn.Parameter, Rows] = {}
    offset = 0
    for group in groups:
        for piece in group.own:
            parameter = parameters.get(piece.name)
            if parameter is None:  # a buffer
                continue
            if parameter not in rows:
                ball = torch.full((parameter.shape[piece.dim],), -1, device=parameter.device)
                rows[parameter] = Rows(piece.dim, ball)
            ball = rows[parameter].ball
            ball[piece.positions.to(ball.device)] = (offset + piece.channels).to(ball.device)
        offset += group.size
    return rows
