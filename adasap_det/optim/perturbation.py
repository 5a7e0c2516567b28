"""Ascent steps of SAM, ASAM and AdaSAP as pure tensor maths.

Every row of every parameter belongs to exactly one *ball*. Uniform SAM and ASAM have one ball for
the whole network; AdaSAP has one for each channel, its radius falling with the channel's
importance. One function covers all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

FORMS = ('sam', 'asam')


@dataclass(frozen=True)
class Rows:
    """The ball that each row of a parameter belongs to.

    Attributes:
        dim: Dimension of the parameter that counts its rows (0 for the output channels of a
            convolution).
        ball: Index of each row's ball, integer tensor of shape ``(param.shape[dim],)``.
    """

    dim: int
    ball: Tensor


Membership = int | Rows
"""Ball of a parameter: one index for the whole tensor, or one for each of its rows."""


class Ascent(NamedTuple):
    """An ascent step, what :func:`~adasap_det.optim.ascent_perturbation` returns."""

    perturbation: list[Tensor]
    """The perturbation of each parameter, same shapes and dtypes as the parameters."""
    rise: Tensor
    """How far it raises the loss to first order, the sum of ``eps . g``, a scalar in units of the
    loss that the gradients belong to."""
    scale: Tensor
    """Factor of all radii, 1 unless a rise was asked for."""


@torch.no_grad()
def ascent_perturbation(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    balls: Balls | Sequence[Membership],
    radii: Tensor,
    *,
    form: str = 'asam',
    eta: float = 0.01,
    rise: Tensor | float | None = None,
    max_ratio: float | None = None,
    foreach: bool = True,
    overwrite_grads: bool = False,
) -> Ascent:
    r"""First-order worst-case perturbation within each ball.

    With the ball's radius :math:`\rho_i`, its weights :math:`w_i` and gradient :math:`g_i`::

        SAM    eps_i = rho_i * g_i / ||g_i||_2
        ASAM   eps_i = rho_i * T_w^2 g_i / ||T_w g_i||_2      T_w = |w_i| + eta

    Without ``rise`` the perturbation does not depend on the scale of ``grads``, so a loss scaled
    for mixed precision needs no unscaling. Norms are taken in float32 (float64 for float64
    weights). A ball whose gradient is zero is not moved. Where a norm is not finite no ball is
    moved, and the step that follows is a plain one.

    Args:
        weights: Parameters.
        grads: Their gradients, same shapes.
        balls: Ball of each parameter, or of each of its rows.
        radii: Radius of each ball, shape ``(B,)``.
        form: ``'sam'`` (Foret et al. 2021, arXiv 2010.01412) or ``'asam'`` (Kwon et al. 2021,
            arXiv 2102.11600), the latter invariant to the scale of the weights.
        eta: Keeps ASAM's ``T_w`` away from zero.
        rise: Multiply all radii by the factor with which the loss rises by this much to first
            order; the radii count only in relation to each other then.
        max_ratio: Largest ``||eps_i|| / ||w_i||`` of a ball; larger ones are shortened, after
            ``rise``.
        foreach: Use multi-tensor kernels; ``False`` is the plain reference, one ball at a time.
        overwrite_grads: Let the kernels work in the memory of ``grads``, whose values are lost.

    Raises:
        ValueError: If ``form`` is unknown or the sequences differ in length.

    Source: AdaSAP (arXiv 2306.14306), the perturbation per neuron.
    """
    if form not in FORMS:
        raise ValueError(f'form must be one of {FORMS}, got {form!r}')
    if not len(weights) == len(grads) == len(balls):
        raise ValueError(
            f'weights, grads and balls differ in length: {len(weights)}, {len(grads)}, {len(balls)}'
        )
    if not weights:
        return Ascent([], radii.new_zeros(()), radii.new_ones(()))
    if not isinstance(balls, Balls):
        balls = Balls(weights, balls)
    if foreach and not overwrite_grads:
        grads = [grad.clone() for grad in grads]
    ascent = _foreach_ascent if foreach else _reference_ascent
    return ascent(
        weights,
        list(grads),
        balls,
        radii,
        eta=eta if form == 'asam' else None,
        rise=rise,
        max_ratio=max_ratio,
    )


class Balls:
    """The balls of some parameters, with their index on the parameters' device.

    Built once for a set of parameters and used in every step: building it copies to the device.

    Args:
        weights: Parameters.
        membership: Ball of each, or of each of its rows.
    """

    def __init__(self, weights: Sequence[Tensor], membership: Sequence[Membership]) -> None:
        device = weights[0].device
        self.membership = list(membership)
        self._dtype = torch.float32
        if any(weight.dtype == torch.float64 for weight in weights):
            self._dtype = torch.float64
        self._shapes, parts = [], []
        for weight, member in zip(weights, membership, strict=True):
            shape = [1] * weight.dim()
            if isinstance(member, Rows):
                shape[member.dim] = -1
                parts.append(member.ball.to(device))
            else:
                parts.append(torch.tensor([member], device=device))
            self._shapes.append(shape)
        self._sizes = [len(part) for part in parts]
        self._index = torch.cat(parts)

    def __len__(self) -> int:
        return len(self.membership)

    def norms(self, tensors: Sequence[Tensor], count: int) -> Tensor:
        """L2 norm of each ball, shape ``(count,)``; all infinite where one is not finite."""
        whole = [i for i, m in enumerate(self.membership) if isinstance(m, int)]
        wide = [tensors[i].to(self._dtype) for i in whole]
        found = dict(zip(whole, torch._foreach_norm(wide) if whole else (), strict=True))
        parts = []
        for i, (tensor, member) in enumerate(zip(tensors, self.membership, strict=True)):
            if isinstance(member, int):
                parts.append(found[i].view(1))
            elif tensor.dim() == 1:
                parts.append(tensor.to(self._dtype))
            else:
                others = [d for d in range(tensor.dim()) if d != member.dim]
                parts.append(torch.linalg.vector_norm(tensor, dim=others, dtype=self._dtype))
        squares = parts[0].new_zeros(count).index_add_(0, self._index, torch.cat(parts).square())
        # One non-finite value invalidates the direction: no ball moves, without a device sync.
        return torch.where(torch.isfinite(squares).all(), squares.sqrt(), torch.inf)

    def spread(self, values: Tensor) -> list[Tensor]:
        """A value for each ball, shape ``(B,)``, as factors that broadcast to the parameters."""
        parts = values[self._index].split(self._sizes)
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def _steps(
    norms: Tensor, radii: Tensor, *, rise: Tensor | float | None, longest: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Factor of ``T_w^2 g`` in each ball, the rise to first order, and the factor of the radii.

    Args:
        norms: ``||T_w g||`` of each ball, infinite where the gradient is not finite.
        radii: Radius of each ball.
        rise: See :func:`ascent_perturbation`.
        longest: Largest factor of each ball.
    """
    moves = (norms > 0) & torch.isfinite(norms)
    radii = torch.where(moves, radii.to(norms.dtype), 0.0)
    norms = torch.where(moves, norms, 1.0)
    scale = norms.new_ones(())
    if rise is not None:
        total = (radii * norms).sum()
        scale = torch.where(total > 0, rise / total, 0.0)
    step = radii * scale / norms
    if longest is not None:
        step = step.minimum(longest)
    step = torch.where(torch.isfinite(step), step, 0.0)
    return step, (step * norms.square()).sum(), scale


def _longest(weight_norms: Tensor, norms: Tensor, max_ratio: float) -> Tensor:
    """Largest factor of ``T_w^2 g``, whose norm is ``norms``, in each ball."""
    return torch.where(norms > 0, max_ratio * weight_norms / norms, torch.inf)


def _foreach_ascent(
    weights: Sequence[Tensor],
    grads: list[Tensor],
    balls: Balls,
    radii: Tensor,
    *,
    eta: float | None,
    rise: Tensor | float | None,
    max_ratio: float | None,
) -> Ascent:
    """Works in the memory of ``grads``; ``eta`` is None for SAM."""
    scaled = grads
    t_w = None
    if eta is not None:
        t_w = torch._foreach_abs(list(weights))
        torch._foreach_add_(t_w, eta)
        torch._foreach_mul_(scaled, t_w)  # T_w g
    norms = balls.norms(scaled, len(radii))
    lengths = norms
    if t_w is not None:
        torch._foreach_mul_(scaled, t_w)
    longest = None
    if max_ratio is not None:
        if t_w is not None:
            lengths = balls.norms(scaled, len(radii))
        longest = _longest(balls.norms(list(weights), len(radii)), lengths, max_ratio)
    step, first_order, scale = _steps(norms, radii, rise=rise, longest=longest)
    step_of = balls.spread(step)
    if all(s.dtype == s_w.dtype for s, s_w in zip(step_of, scaled, strict=True)):
        torch._foreach_mul_(scaled, step_of)
        perturbation = scaled
    else:
        perturbation = [
            (s_w * s).to(w.dtype) for w, s_w, s in zip(weights, scaled, step_of, strict=True)
        ]
    # A step of zero does not silence a nan: 0 * nan is nan. Whether there is one is free to ask on
    # the CPU; elsewhere asking would wait for the device, and cleaning is cheaper.
    if norms.device.type != 'cpu' or not bool(torch.isfinite(norms).all()):
        for eps in perturbation:
            torch.nan_to_num_(eps, nan=0.0, posinf=0.0, neginf=0.0)
    return Ascent(perturbation, first_order, scale)


def _reference_ascent(
    weights: Sequence[Tensor],
    grads: list[Tensor],
    balls: Balls,
    radii: Tensor,
    *,
    eta: float | None,
    rise: Tensor | float | None,
    max_ratio: float | None,
) -> Ascent:
    perturbation = [torch.zeros_like(w) for w in weights]
    wide = torch.float64 if any(w.dtype == torch.float64 for w in weights) else torch.float32
    inside, directions, norms, longest = [], [], [], []
    for ball in range(len(radii)):
        masks = [
            torch.full(w.shape, m == ball, dtype=torch.bool, device=w.device)
            if isinstance(m, int)
            else _broadcast(m.ball == ball, w, m.dim).expand_as(w)
            for w, m in zip(weights, balls.membership, strict=True)
        ]
        w_i = torch.cat([w[mask].to(wide) for w, mask in zip(weights, masks, strict=True)])
        g_i = torch.cat([g[mask].to(wide) for g, mask in zip(grads, masks, strict=True)])
        t_w = torch.ones_like(w_i) if eta is None else w_i.abs() + eta
        inside.append(masks)
        directions.append(t_w.square() * g_i)
        norms.append((t_w * g_i).norm())
        if max_ratio is not None:
            longest.append(_longest(w_i.norm(), directions[-1].norm(), max_ratio))
    if not all(bool(torch.isfinite(norm)) for norm in norms):
        return Ascent(perturbation, norms[0].new_zeros(()), norms[0].new_ones(()))
    step, first_order, scale = _steps(
        torch.stack(norms), radii, rise=rise, longest=torch.stack(longest) if longest else None
    )
    for masks, direction, factor in zip(inside, directions, step, strict=True):
        sizes = [int(mask.sum()) for mask in masks]
        parts = (direction * factor).split(sizes)
        for eps, mask, part in zip(perturbation, masks, parts, strict=True):
            eps[mask] = part.to(eps.dtype)
    return Ascent(perturbation, first_order, scale)


def _broadcast(per_row: Tensor, like: Tensor, dim: int) -> Tensor:
    shape = [1] * like.dim()
    shape[dim] = -1
    return per_row.view(shape)
