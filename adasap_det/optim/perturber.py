"""From gradients to a perturbation of the size asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .deferred_scalars import DeferredScalars
from .perturbation import ascent_perturbation
from .radii import MAX_RATIO, ChannelRadii, RadiusOptions
from .rise import RiseControl


class Perturber:
    """Perturbs weights along gradients, by as much as the options say, and logs by how much.

    Args:
        options: How far.
        form, eta, foreach: See :func:`~adasap_det.optim.ascent_perturbation`.
        ungrouped: Whether parameters of no channel group are perturbed in the adaptive stage.
        scalars: The log.

    Attributes:
        channels: The balls and radii of the channels.
        predicted: By how much the last perturbation raises the loss to first order, a scalar.
    """

    def __init__(
        self,
        options: RadiusOptions,
        *,
        form: str,
        eta: float,
        foreach: bool,
        ungrouped: bool,
        scalars: DeferredScalars,
    ) -> None:
        self.options = options
        self.channels = ChannelRadii(options)
        self._kernel: dict[str, Any] = {'form': form, 'eta': eta, 'foreach': foreach}
        self._ungrouped = ungrouped
        self._scalars = scalars
        self._rise = {'uniform': RiseControl(), 'by_channel': RiseControl()}
        self.predicted: Tensor | None = None

    def perturbation(
        self, weights: Sequence[nn.Parameter], grads: Sequence[Tensor], *, by_channel: bool
    ) -> list[Tensor]:
        """The perturbation of each weight; works in the memory of ``grads``.

        Args:
            weights: Parameters, at least one.
            grads: Their gradients, unscaled.
            by_channel: Whether each channel has a radius of its own.
        """
        aim = self.options.aim(by_channel=by_channel)
        found = ascent_perturbation(
            weights,
            grads,
            self.channels.balls(weights, by_channel=by_channel),
            self.channels.padded(weights, ungrouped=self._ungrouped)
            if by_channel
            else self.channels.single(weights),
            rise=None if aim is None else self._control(by_channel).first_order(aim),
            max_ratio=None if aim is None else MAX_RATIO,
            overwrite_grads=True,
            **self._kernel,
        )
        self.predicted = found.rise
        self._scalars.add(
            perturbation_norm=torch.stack(torch._foreach_norm(found.perturbation)).norm(),
            **self.channels.logged(found.scale, by_channel=by_channel),
        )
        return found.perturbation

    def measured(self, rise: Tensor, *, by_channel: bool) -> None:
        """Log by how much the last perturbation raised the loss, and correct the next one.

        Args:
            rise: ``L(w + eps) - L(w)``, a scalar.
            by_channel: As it was there.
        """
        aim = self.options.aim(by_channel=by_channel)
        self._scalars.add(rise=rise)
        if aim is None or self.predicted is None:
            return
        self._scalars.add(rise_aim=torch.full_like(rise, aim))
        self._control(by_channel).update(measured=rise, predicted=self.predicted)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {name: control.state_dict() for name, control in self._rise.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of an earlier run."""
        for name, control in self._rise.items():
            control.load_state_dict(state.get(name, {}))

    def _control(self, by_channel: bool) -> RiseControl:
        return self._rise['by_channel' if by_channel else 'uniform']
