"""Channels that are removed for the length of a pass: set to zero, not pruned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .perturbation import Rows


class ChannelRemoval:
    """Removes the first channels of an order by setting to zero what computes and what reads them.

    The model then computes what the pruned one would, in training mode too, as far as no operator
    mixes channels (layer norm and group norm do). What computes a channel gets no gradient, as
    nothing reads it; the gradient of what reads it is set to zero. Weight decay, momentum and
    moments of the optimizer act on these weights as on all others: they are part of the network,
    and only this pass goes without them.

    Args:
        rows: For each parameter, the channel of each of its rows along each dimension that
            channels are computed or read along, counted over the whole model; -1 for none.

    Attributes:
        removed: Number of steps of the order that are taken; 0 removes nothing.
    """

    def __init__(self, rows: Mapping[nn.Parameter, Sequence[Rows]]) -> None:
        self._rows = [(p, each) for p, along in rows.items() for each in along]
        self._lengths = [len(each.ball) for _, each in self._rows]
        # 0 is for rows of no channel, as everything is moved up by one.
        self._channels = torch.cat([each.ball for _, each in self._rows]) + 1
        self._ranks = torch.zeros_like(self._channels)
        self.removed = 0

    def set_order(self, ranks: Tensor) -> None:
        """Set the order.

        Args:
            ranks: Step of the order in which each channel goes, shape ``(C,)``.
        """
        never = int(ranks.max()) + 1
        padded = torch.cat([ranks.new_full((1,), never), ranks])
        self._ranks = padded.to(self._channels.device)[self._channels]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters that lose rows; none where nothing is removed."""
        return list(dict.fromkeys(p for p, _ in self._rows)) if self.removed else []

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Remove the channels inside. The caller saves the weights and restores them."""
        if not self.removed:
            yield
            return
        masks: dict[nn.Parameter, list[Tensor]] = {}
        stays = (self._ranks >= self.removed).split(self._lengths)
        for (parameter, rows), mask in zip(self._rows, stays, strict=True):
            shape = [-1 if dim == rows.dim else 1 for dim in range(parameter.dim())]
            masks.setdefault(parameter, []).append(mask.view(shape).to(parameter.dtype))
        handles = []
        try:
            with torch.no_grad():
                for parameter, along in masks.items():
                    for mask in along:
                        parameter.mul_(mask)
            for parameter, along in masks.items():
                if parameter.requires_grad:
                    handles.append(parameter.register_hook(_Masked(along)))
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Masked:
    """Hook that sets the gradient of removed rows to zero, before it is accumulated."""

    def __init__(self, masks: Sequence[Tensor]) -> None:
        self._masks = masks

    def __call__(self, grad: Tensor) -> Tensor:
        for mask in self._masks:
            grad = grad * mask.to(grad.dtype)
        return grad
