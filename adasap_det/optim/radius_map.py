"""The maps from the importance of channels to the radii of their balls, as pure tensor maths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def adaptive_radius(
    scores: Sequence[Tensor],
    *,
    rho_min: float,
    rho_max: float,
    radius_map: str = 'rank',
    inverse: bool = False,
) -> Tensor:
    r"""Perturbation radius of each channel: the less important, the larger.

    With the position :math:`p_i` of channel :math:`i` between the least important (0) and the most
    important (1)::

        rho_i = rho_max - p_i (rho_max - rho_min)

    Args:
        scores: Importance of the channels of each group, shape ``(size,)`` a group, any unit.
        rho_min: Radius of the most important channel.
        rho_max: Radius of the least important channel.
        radius_map: How the position follows from the importance:

            - ``'rank'``: the rank of the score among all channels, so that the radii are spread
              evenly; channels of equal score share the mean of their ranks.
            - ``'linear'``: the score itself, between the smallest and the largest of the model
              (the paper's equation). A few large scores give nearly all channels ``rho_max``.
            - ``'layer'``: the same between the smallest and the largest of the channel's group.

            Where all scores are equal there is nothing to tell channels apart: all get the middle
            of the range; with ``'layer'`` that goes for each group, those of one channel included.
        inverse: The other way round, for ablations: ``rho_max`` goes to the most important.

    Returns:
        Radii of all channels, the groups one after another, shape ``(C,)``, in
        ``[rho_min, rho_max]``.

    Raises:
        ValueError: If ``rho_min`` exceeds ``rho_max``, ``radius_map`` is unknown, or a score on the
            CPU is not finite; on other devices the check would wait for the device.

    Source: AdaSAP (arXiv 2306.14306), equation for rho_i.
    """
    check_radii(rho_min=rho_min, rho_max=rho_max)
    check_radius_map(radius_map)
    if not scores:
        return torch.empty(0)
    if not all(s.device.type != 'cpu' or bool(torch.isfinite(s).all()) for s in scores):
        raise ValueError('scores must be finite, got nan or inf among them')
    position = RADIUS_MAPS[radius_map]([s if s.is_floating_point() else s.float() for s in scores])
    if inverse:
        position = 1 - position
    return rho_max - position * (rho_max - rho_min)


def check_radii(*, rho_min: float, rho_max: float) -> None:
    """Raise ``ValueError`` unless ``0 <= rho_min <= rho_max < inf``."""
    if not (rho_min >= 0 and math.isfinite(rho_max)):
        raise ValueError(f'radii must be finite and >= 0, got rho_min={rho_min}, rho_max={rho_max}')
    if rho_min > rho_max:
        raise ValueError(
            f'rho_min={rho_min} exceeds rho_max={rho_max}; the least important channel gets '
            f'rho_max, so set rho_min <= rho_max'
        )


def check_radius_map(radius_map: str) -> None:
    """Raise ``ValueError`` for an unknown map."""
    if radius_map not in RADIUS_MAPS:
        raise ValueError(f'radius_map must be one of {tuple(RADIUS_MAPS)}, got {radius_map!r}')


def _by_rank(scores: Sequence[Tensor]) -> Tensor:
    flat = torch.cat(list(scores))
    if flat.numel() < 2:
        return torch.full_like(flat, 0.5)
    ordered = flat.sort().values
    below = torch.searchsorted(ordered, flat)
    not_above = torch.searchsorted(ordered, flat, right=True)
    return (below + not_above - 1).to(flat.dtype) / (2 * (flat.numel() - 1))


def _linear(scores: Sequence[Tensor]) -> Tensor:
    return _between(torch.cat(list(scores)))


def _by_layer(scores: Sequence[Tensor]) -> Tensor:
    return torch.cat([_between(score) for score in scores])


def _between(scores: Tensor) -> Tensor:
    """Position between the smallest and the largest score."""
    if scores.numel() == 0:
        return scores.clone()
    low, high = scores.min(), scores.max()
    span = (high - low).clamp_min(torch.finfo(scores.dtype).tiny)
    return torch.where(high > low, (scores - low) / span, torch.full_like(scores, 0.5))


RADIUS_MAPS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    'rank': _by_rank,
    'linear': _linear,
    'layer': _by_layer,
}
