"""A pull that takes chosen channels to zero over a number of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .perturbation import Rows


class ChannelShrinkage:
    """Shrinks what computes and what reads chosen channels, to zero in the last of some steps.

    With ``r`` steps left the weights are multiplied by ``(r - 1) / r``: left alone they would fall
    in a straight line. The pull grows as the end comes near, and it ends at zero whatever the
    gradients do. It is no part of the gradient, so that it is the same with every optimizer and
    learning rate.

    Args:
        rows: For each parameter, the channel of each of its rows along each dimension that
            channels are computed or read along, counted over the whole model; -1 for none.
        shrinks: Whether each channel shrinks, boolean, shape ``(C,)``.
    """

    def __init__(self, rows: Mapping[nn.Parameter, Sequence[Rows]], shrinks: Tensor) -> None:
        padded = torch.cat([shrinks.new_zeros(1), shrinks])  # rows of no channel stay
        self._chosen: dict[nn.Parameter, Tensor] = {}  # whether each weight shrinks
        for parameter, along in rows.items():
            for each in along:
                chosen = padded.to(each.ball.device)[each.ball + 1]
                if bool(chosen.any()):
                    shape = [-1 if dim == each.dim else 1 for dim in range(parameter.dim())]
                    chosen = chosen.view(shape)
                    before = self._chosen.get(parameter)
                    self._chosen[parameter] = chosen if before is None else before | chosen

    @torch.no_grad()
    def pull(self, left: int) -> None:
        """Shrink the weights once.

        Args:
            left: Steps that are left, this one included; with 1 the weights become zero.
        """
        for parameter, chosen in self._chosen.items():
            parameter.mul_(torch.where(chosen, (left - 1) / left, 1.0).to(parameter.dtype))
