"""How far the weights are perturbed: the options, and the radius of each channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .perturbation import Balls, Rows
from .radius_map import adaptive_radius, check_radii, check_radius_map

RISE, UNIFORM_RISE, RADIUS_RATIO = 0.4, 0.2, 20.0
"""Defaults of the wrapper's ``rise``, ``uniform_rise`` and ``radius_ratio``."""

MAX_RATIO = 0.5
"""Largest ``||eps_i|| / ||w_i||`` with ``rise``: radii would explode as gradients vanish."""

# (rho_min, rho_max, rho) by form. ASAM: the paper's. SAM: Foret et al.'s 0.05, with the ratio of
# the paper's two radii; ASAM's own values would throw the SAM form far out of the linear regime.
DEFAULT_RADII = {'asam': (0.01, 2.0, 2.0), 'sam': (0.00025, 0.05, 0.05)}


@dataclass(frozen=True)
class RadiusOptions:
    """How far the weights are perturbed, in either of two units.

    Attributes:
        rho_min, rho_max: Radius of the most and of the least important channel; with ``rise`` only
            their ratio counts.
        rho: Radius of the uniform stage.
        radius_map: See :func:`~adasap_det.optim.adaptive_radius`.
        rise, uniform_rise: How far a step may raise the loss, in the adaptive stage and in the
            uniform one; None where the radii are absolute.
    """

    rho_min: float
    rho_max: float
    rho: float
    radius_map: str
    rise: float | None
    uniform_rise: float | None

    @classmethod
    def resolve(
        cls,
        *,
        form: str,
        radius_map: str,
        rise: float | None,
        uniform_rise: float | None,
        radius_ratio: float | None,
        rho_min: float | None,
        rho_max: float | None,
        rho: float | None,
    ) -> RadiusOptions:
        """Fill in the defaults of the unit that is used.

        Raises:
            ValueError: If options of both units are given, or one is out of range.
        """
        try:
            check_radius_map(radius_map)
        except ValueError as error:
            raise ValueError(f'optim_wrapper.{error}') from None
        relative = {'rise': rise, 'uniform_rise': uniform_rise, 'radius_ratio': radius_ratio}
        absolute = {'rho_min': rho_min, 'rho_max': rho_max, 'rho': rho}
        given = [[k for k, v in unit.items() if v is not None] for unit in (relative, absolute)]
        if all(given):
            raise ValueError(
                f'optim_wrapper has {", ".join(given[0])} and {", ".join(given[1])}: the size of '
                f'the perturbation follows either from the rise of the loss or from absolute '
                f'radii; remove one of the two (a base config is overridden by None)'
            )
        for name, value in relative.items():
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f'optim_wrapper.{name} must be finite and >= 0, got {value}')
        if radius_ratio is not None and radius_ratio < 1:
            raise ValueError(
                f'optim_wrapper.radius_ratio is the largest radius divided by the smallest and '
                f'must be at least 1, got {radius_ratio}'
            )
        if not given[1]:
            return cls(
                rho_min=1 / (RADIUS_RATIO if radius_ratio is None else radius_ratio),
                rho_max=1.0,
                rho=1.0,
                radius_map=radius_map,
                rise=RISE if rise is None else float(rise),
                uniform_rise=UNIFORM_RISE if uniform_rise is None else float(uniform_rise),
            )
        default_min, default_max, default_rho = DEFAULT_RADII[form]
        rho_max = default_max if rho_max is None else rho_max
        rho_min = min(default_min, rho_max) if rho_min is None else rho_min
        rho = default_rho if rho is None else rho
        check_radii(rho_min=rho_min, rho_max=rho_max)
        if not 0 <= rho < math.inf:
            raise ValueError(f'optim_wrapper.rho must be finite and >= 0, got {rho}')
        return cls(rho_min, rho_max, rho, radius_map, None, None)

    def aim(self, *, by_channel: bool) -> float | None:
        """The rise asked for, None where the radii are absolute."""
        return self.rise if by_channel else self.uniform_rise

    def perturbs(self, *, by_channel: bool, ungrouped: bool) -> bool:
        """Whether anything is perturbed at all.

        Args:
            by_channel: Whether each channel has a radius of its own.
            ungrouped: Whether parameters of no channel group are perturbed in that case.
        """
        aim = self.aim(by_channel=by_channel)
        if aim is not None:
            return aim > 0
        if not by_channel:
            return self.rho > 0
        return self.rho_max > 0 or (ungrouped and self.rho > 0)


class ChannelRadii:
    """The ball that each row of a parameter belongs to, and the balls' radii.

    Ball 0 holds everything outside the channel groups, ball ``c + 1`` is that of channel ``c``.

    Args:
        options: How far the weights are perturbed.

    Attributes:
        rows: Ball of each row, by id of the parameter; missing parameters are in ball 0.
        scores, radii: Importance and radius of each channel, shape ``(C,)``; None until known.
    """

    def __init__(self, options: RadiusOptions) -> None:
        self.options = options
        self.rows: dict[int, Rows] = {}
        self.scores: Tensor | None = None
        self.radii: Tensor | None = None
        self._quantiles: Tensor | None = None
        self._balls: dict[tuple[int, ...], Balls] = {}
        self._padded: dict[float, Tensor] = {}
        self._single: Tensor | None = None

    def set_rows(self, rows: Mapping[nn.Parameter, Rows]) -> None:
        """Set the channel that each row belongs to, -1 for none; drops the importance."""
        self.rows = {id(p): Rows(row.dim, row.ball + 1) for p, row in rows.items()}
        self.scores = self.radii = None
        self._balls.clear()
        self._padded.clear()

    def set_scores(self, scores: Sequence[Tensor], *, inverse: bool = False) -> Tensor:
        """Turn the importance of the channels of each group into radii, shape ``(C,)``."""
        self.scores = torch.cat(list(scores)) if scores else torch.empty(0)
        self.radii = adaptive_radius(
            [score.float() for score in scores],
            rho_min=self.options.rho_min,
            rho_max=self.options.rho_max,
            radius_map=self.options.radius_map,
            inverse=inverse,
        )
        self._quantiles = _quantiles(self.radii)
        self._padded.clear()
        return self.radii

    def balls(self, weights: Sequence[nn.Parameter], *, by_channel: bool) -> Balls:
        """The balls of parameters; one for all of them unless ``by_channel``."""
        key = (by_channel, *map(id, weights))
        if key not in self._balls:
            if len(self._balls) > 8:  # other parameters in every step, as with perturb_ratio
                self._balls.clear()
            rows = self.rows if by_channel else {}
            self._balls[key] = Balls(weights, [rows.get(id(weight), 0) for weight in weights])
        return self._balls[key]

    def padded(self, weights: Sequence[nn.Parameter], *, ungrouped: bool) -> Tensor:
        """Radii of all balls, that of ball 0 before those of the channels.

        Ball 0 has the radius ``rho``; with ``rise`` that of as many of the most important channels
        as its parameters have rows, ``rho_min * sqrt(rows)``; 0 without ``ungrouped``.

        Raises:
            RuntimeError: If the importance is not known.
        """
        if self.radii is None:
            raise RuntimeError(
                'the adaptive stage needs the importance of each channel, which PruningHook sets; '
                "add custom_hooks=[dict(type='PruningHook', ...)] or leave the stage at 'uniform'"
            )
        rest = self.options.rho if ungrouped else 0.0
        if ungrouped and self.options.rise is not None:
            rows = sum(len(w) for w in weights if w.dim() > 1 and id(w) not in self.rows)
            rest = self.options.rho_min * math.sqrt(max(rows, 1))
        if rest not in self._padded:
            radii = self.radii.to(weights[0].device)
            self._padded = {rest: torch.cat([radii.new_tensor([rest]), radii])}
        return self._padded[rest]

    def single(self, weights: Sequence[nn.Parameter]) -> Tensor:
        """Radius of the one ball of the uniform stage, shape ``(1,)``."""
        if self._single is None:
            self._single = torch.tensor([float(self.options.rho)], device=weights[0].device)
        return self._single

    def logged(self, scale: Tensor, *, by_channel: bool) -> dict[str, Tensor]:
        """Percentiles of the channels' radii, or the one radius, for the log.

        Args:
            scale: Factor of the radii.
            by_channel: Whether each channel has a radius of its own.
        """
        if not by_channel:
            return {'rho': self.options.rho * scale}
        if self._quantiles is None or not len(self._quantiles):
            return {}
        values = (self._quantiles.to(scale.device) * scale).unbind()
        return dict(zip(PERCENTILES, values, strict=True))


PERCENTILES = {'rho_p01': 0.01, 'rho_p50': 0.5, 'rho_p99': 0.99}


def _quantiles(radii: Tensor) -> Tensor:
    if not radii.numel():
        return radii
    ordered = radii.sort().values
    positions = [round(share * (len(ordered) - 1)) for share in PERCENTILES.values()]
    return torch.stack([ordered[position] for position in positions])
