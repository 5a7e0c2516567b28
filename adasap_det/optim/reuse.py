"""The adversarial part of a sharpness-aware gradient, kept for the steps between two of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def adversarial_direction(plain: Sequence[Tensor], perturbed: Sequence[Tensor]) -> list[Tensor]:
    r"""Unit vector along what the perturbed point's gradient adds to the plain one.

    With the plain gradient :math:`g` and that at the perturbed weights, :math:`g_s`::

        g_v = g_s - (g_s . g / ||g||^2) g        d = g_v / ||g_v||

    over all tensors together. Neither gradient's scale matters.

    Args:
        plain: Gradients at the weights. Their memory is used for the result; values are lost.
        perturbed: Gradients at the perturbed weights, same shapes.

    Returns:
        The direction, same shapes; zero where a gradient is zero or not finite, or where both
        are parallel.

    Source: LookSAM (arXiv 2203.02714), equation for g_v.
    """
    direction = list(plain)
    if not direction:
        return direction
    square, dot = _dot(plain, plain), _dot(plain, perturbed)
    share = torch.where(square > 0, dot / square, torch.zeros_like(square))
    torch._foreach_mul_(direction, [(-share).to(d.dtype) for d in direction])
    torch._foreach_add_(direction, list(perturbed))
    norm = _dot(direction, direction).sqrt()
    # Rounding leaves crumbs of parallel gradients, which have no direction.
    whole = _dot(perturbed, perturbed).sqrt()
    usable = torch.isfinite(norm) & (norm > 1e-6 * whole)
    scale = torch.where(usable, 1 / norm, torch.zeros_like(norm))
    torch._foreach_mul_(direction, [scale.to(d.dtype) for d in direction])
    for d in direction:
        torch.nan_to_num_(d, nan=0.0, posinf=0.0, neginf=0.0)
    return direction


@torch.no_grad()
def add_direction(grads: Sequence[Tensor], direction: Sequence[Tensor], *, alpha: float) -> None:
    """Add ``alpha * ||g|| * d`` to the gradients, in place.

    Args:
        grads: Gradients of one step, in any scale.
        direction: Unit vector, same shapes.
        alpha: Share of the gradient's norm.

    Source: LookSAM (arXiv 2203.02714), the steps without a second pass.
    """
    if not grads:
        return
    length = alpha * _dot(grads, grads).sqrt()
    for grad, d in zip(grads, direction, strict=True):
        grad.add_(d * length.to(d.dtype))


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Inner product over all tensors, in float32 at least."""
    wide = torch.float64 if one[0].dtype == torch.float64 else torch.float32
    return torch.stack(
        [torch.sum(a.to(wide) * b.to(wide)) for a, b in zip(one, other, strict=True)]
    ).sum()
