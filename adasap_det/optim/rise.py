"""Control of how far a perturbation raises the loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

SMOOTHING = 0.95
"""Weight of what is known at each new measurement."""

SMALLEST, LARGEST = 0.1, 100.0
"""Bounds of the ratio of the measured to the predicted rise."""


class RiseControl:
    """Corrects the first-order prediction of the rise by what earlier steps measured.

    Far from the weights the loss rises faster than its gradient says. The ratio of the measured to
    the predicted rise, both smoothed exponentially, is what the next prediction is divided by. All
    is kept on the device: no step waits for it.
    """

    def __init__(self) -> None:
        self._measured: Tensor | None = None
        self._predicted: Tensor | None = None

    def first_order(self, aim: float) -> Tensor | float:
        """The first-order rise to ask for, so that the measured one comes to ``aim``."""
        if self._measured is None or self._predicted is None:
            return aim
        ratio = self._measured / self._predicted
        return aim / torch.nan_to_num(ratio, nan=1.0).clamp(SMALLEST, LARGEST)

    def update(self, *, measured: Tensor, predicted: Tensor) -> None:
        """Take a step's measurement into account; one that is not finite is left out.

        Args:
            measured: ``L(w + eps) - L(w)`` of this rank's batch, a scalar.
            predicted: The same to first order, at least 0.
        """
        pair = torch.stack([measured.detach().float(), predicted.detach().float()])
        pair = torch.where(torch.isfinite(pair).all(), pair, 0.0)
        if get_world_size() > 1:
            all_reduce(pair, op='mean')
        old = [self._measured, self._predicted]
        self._measured, self._predicted = (
            new if before is None else before.to(new.device) * SMOOTHING + new
            for before, new in zip(old, pair, strict=True)
        )

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        if self._measured is None or self._predicted is None:
            return {}
        return {'measured': self._measured.cpu(), 'predicted': self._predicted.cpu()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of an earlier run."""
        self._measured, self._predicted = state.get('measured'), state.get('predicted')
