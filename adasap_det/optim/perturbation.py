"""Ascent steps of SAM, ASAM and AdaSAP as pure tensor maths.

Every row of every parameter belongs to exactly one *ball*. Uniform SAM and ASAM have one ball for
the whole network; AdaSAP has one for each channel, its radius falling with the channel's
importance. One function covers all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def adaptive_radius(
    scores: Tensor, *, rho_min: float, rho_max: float, inverse: bool = False
) -> Tensor:
    """Perturbation radius of each channel: the less important, the larger.

    Args:
        scores: Importance of each channel over the whole model, shape ``(C,)``, any unit.
        rho_min: Radius of the most important channel.
        rho_max: Radius of the least important channel; of all, where all scores are equal.
        inverse: The other way round, for ablations: ``rho_max`` goes to the most important.

    Returns:
        Radii, shape ``(C,)``, in ``[rho_min, rho_max]``.

    Raises:
        ValueError: If ``rho_min`` exceeds ``rho_max``, or a score is not finite.

    Source: AdaSAP (arXiv 2306.14306), equation for rho_i.
    """
    check_radii(rho_min=rho_min, rho_max=rho_max)
    if not bool(torch.isfinite(scores).all()):
        raise ValueError('scores must be finite, got nan or inf among them')
    if not scores.is_floating_point():
        scores = scores.float()
    if scores.numel() == 0:
        return scores.clone()
    low, high = scores.min(), scores.max()
    span = (high - low).clamp_min(torch.finfo(scores.dtype).tiny)
    position = (scores - low) / span
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


@torch.no_grad()
def ascent_perturbation(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    membership: Sequence[Membership],
    radii: Tensor,
    *,
    form: str = 'asam',
    eta: float = 0.01,
    foreach: bool = True,
    overwrite_grads: bool = False,
) -> list[Tensor]:
    r"""First-order worst-case perturbation within each ball.

    With the ball's radius :math:`\rho_i`, its weights :math:`w_i` and gradient :math:`g_i`::

        SAM    eps_i = rho_i * g_i / ||g_i||_2
        ASAM   eps_i = rho_i * T_w^2 g_i / ||T_w g_i||_2      T_w = |w_i| + eta

    The result does not depend on the scale of ``grads``, so a loss scaled for mixed precision
    needs no unscaling. Norms are taken in float32 (float64 for float64 weights). A ball whose
    gradient is zero is not moved. Where a norm is not finite no ball is moved, and the step that
    follows is a plain one.

    Args:
        weights: Parameters.
        grads: Their gradients, same shapes.
        membership: Ball of each parameter, or of each of its rows.
        radii: Radius of each ball, shape ``(B,)``.
        form: ``'sam'`` (Foret et al. 2021, arXiv 2010.01412) or ``'asam'`` (Kwon et al. 2021,
            arXiv 2102.11600), the latter invariant to the scale of the weights.
        eta: Keeps ASAM's ``T_w`` away from zero.
        foreach: Use multi-tensor kernels; ``False`` is the plain reference, one ball at a time.
        overwrite_grads: Let the kernels work in the memory of ``grads``, whose values are lost.

    Returns:
        The perturbation of each parameter, same shapes and dtypes as ``weights``.

    Raises:
        ValueError: If ``form`` is unknown or the sequences differ in length.

    Source: AdaSAP (arXiv 2306.14306), the perturbation per neuron.
    """
    if form not in FORMS:
        raise ValueError(f'form must be one of {FORMS}, got {form!r}')
    if not len(weights) == len(grads) == len(membership):
        raise ValueError(
            f'weights, grads and membership differ in length: '
            f'{len(weights)}, {len(grads)}, {len(membership)}'
        )
    if not weights:
        return []
    if not foreach:
        return _reference_ascent(weights, grads, membership, radii, form=form, eta=eta)
    if not overwrite_grads:
        grads = [grad.clone() for grad in grads]
    return _foreach_ascent(weights, list(grads), membership, radii, form=form, eta=eta)


def _reference_ascent(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    membership: Sequence[Membership],
    radii: Tensor,
    *,
    form: str,
    eta: float,
) -> list[Tensor]:
    perturbation = [torch.zeros_like(w) for w in weights]
    wide = _norm_dtype(weights)
    for ball, rho in enumerate(radii.tolist()):
        inside = [
            torch.full(w.shape, m == ball, dtype=torch.bool, device=w.device)
            if isinstance(m, int)
            else _broadcast(m.ball == ball, w, m.dim).expand_as(w)
            for w, m in zip(weights, membership, strict=True)
        ]
        w_i = torch.cat([w[mask].to(wide) for w, mask in zip(weights, inside, strict=True)])
        g_i = torch.cat([g[mask].to(wide) for g, mask in zip(grads, inside, strict=True)])
        t_w = w_i.abs() + eta if form == 'asam' else torch.ones_like(w_i)
        norm = (t_w * g_i).norm()
        if not bool(torch.isfinite(norm)):
            return [torch.zeros_like(w) for w in weights]
        if norm == 0:
            continue
        eps_i = rho * t_w.square() * g_i / norm
        sizes = [int(mask.sum()) for mask in inside]
        for eps, mask, part in zip(perturbation, inside, eps_i.split(sizes), strict=True):
            eps[mask] = part.to(eps.dtype)
    return perturbation


def _foreach_ascent(
    weights: Sequence[Tensor],
    scaled: list[Tensor],
    membership: Sequence[Membership],
    radii: Tensor,
    *,
    form: str,
    eta: float,
) -> list[Tensor]:
    """Works in the memory of ``scaled``, the gradients."""
    t_w = None
    if form == 'asam':
        t_w = torch._foreach_abs(list(weights))
        torch._foreach_add_(t_w, eta)
        torch._foreach_mul_(scaled, t_w)  # T_w g

    norms = _ball_norms(scaled, membership, len(radii))
    step = radii.to(norms.dtype) / norms  # rho_i / ||T_w g_i||
    step = torch.where(torch.isfinite(step), step, torch.zeros_like(step))
    step_of = [
        step[m] if isinstance(m, int) else _broadcast(step[m.ball], w, m.dim)
        for w, m in zip(weights, membership, strict=True)
    ]
    if t_w is not None:
        torch._foreach_mul_(scaled, t_w)
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
    return perturbation


def _ball_norms(tensors: Sequence[Tensor], membership: Sequence[Membership], balls: int) -> Tensor:
    """L2 norm of each ball, shape ``(balls,)``; all infinite where one is not finite."""
    wide = _norm_dtype(tensors)
    squares = torch.zeros(balls, dtype=wide, device=tensors[0].device)
    tensorwise = [i for i, m in enumerate(membership) if isinstance(m, int)]
    if tensorwise:
        norms = torch._foreach_norm([tensors[i].to(wide) for i in tensorwise])
        index = torch.tensor([membership[i] for i in tensorwise], device=squares.device)
        squares.index_add_(0, index, torch.stack(norms).square())
    for tensor, member in zip(tensors, membership, strict=True):
        if isinstance(member, Rows):
            norm = tensor.to(wide)
            if tensor.dim() > 1:
                others = [d for d in range(tensor.dim()) if d != member.dim]
                norm = torch.linalg.vector_norm(tensor, dim=others, dtype=wide)
            squares.index_add_(0, member.ball, norm.square())
    # One non-finite value invalidates the whole direction: no ball moves, without a device sync.
    finite = torch.isfinite(squares).all()
    return torch.where(finite, squares.sqrt(), torch.full_like(squares, torch.inf))


def _norm_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    double = any(tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if double else torch.float32


def _broadcast(per_row: Tensor, like: Tensor, dim: int) -> Tensor:
    shape = [1] * like.dim()
    shape[dim] = -1
    return per_row.view(shape)
