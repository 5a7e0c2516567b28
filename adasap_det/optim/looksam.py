"""LookSAM: the direction that the second pass added, reused in the steps between two passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce_params
from torch import Tensor, nn
from torch.optim import Optimizer

from .grad_scaler import step_is_taken

DIRECTION = 'adasap_direction'
"""Key of the direction in the optimizer's state: saved, resumed and pruned like momentum."""


@torch.no_grad()
def adversarial_direction(plain: Sequence[Tensor], perturbed: Sequence[Tensor]) -> list[Tensor]:
    r"""Unit vector along the part of the perturbed gradient that is orthogonal to the plain one.

    With the plain gradient :math:`g` and that at the perturbed weights, :math:`g_s`::

        g_v = g_s - (g_s . g / ||g||^2) g        d = g_v / ||g_v||

    over all tensors together. Independent of the scale of both gradients.

    Args:
        plain: Gradients at the weights. Overwritten with the result.
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
    projection = torch.where(square > 0, dot / square, torch.zeros_like(square))
    torch._foreach_mul_(direction, [(-projection).to(d.dtype) for d in direction])
    torch._foreach_add_(direction, list(perturbed))
    norm = _dot(direction, direction).sqrt()
    # Parallel gradients leave only rounding errors, which have no direction.
    total = _dot(perturbed, perturbed).sqrt()
    usable = torch.isfinite(norm) & (norm > 1e-6 * total)
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
        alpha: Length relative to the gradient's norm.

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


class LookSAMDirection:
    """The direction of LookSAM (arXiv 2203.02714), kept in the optimizer's state.

    Args:
        alpha: Length of what is added in the steps between, relative to the gradient's norm.
        reduced: Whether the first pass's gradients are the same on all ranks already; else they
            are averaged over them.
    """

    def __init__(self, *, alpha: float, reduced: bool) -> None:
        self.alpha = alpha
        self.reduced = reduced
        # Gradients of the first passes, summed; None where this rank had none.
        self._plain: dict[nn.Parameter, Tensor | None] = {}
        self._found: dict[nn.Parameter, Tensor] = {}

    def collect(self, weights: Sequence[nn.Parameter], grads: Sequence[Tensor | None]) -> None:
        """Collect the gradients of a first pass; those of a step's micro-batches add up.

        Args:
            weights: The perturbed parameters, the same on all ranks.
            grads: Their gradients; None for parameters that this rank's batch does not use.
        """
        for weight, grad in zip(weights, grads, strict=True):
            collected = self._plain.get(weight)
            if collected is None:
                self._plain[weight] = None if grad is None else grad.clone()
            elif grad is not None:
                collected += grad

    def forget(self) -> None:
        """Drop the collected gradients: no step of this kind follows."""
        self._plain = {}

    def is_known(self, optimizer: Optimizer) -> bool:
        """Whether an earlier step left a direction."""
        return any(DIRECTION in state for state in optimizer.state.values())

    @contextmanager
    def around_step(self, optimizer: Optimizer) -> Iterator[None]:
        """Use the direction, or compute a new one, in the optimizer step inside."""
        self._before_step(optimizer)
        handle = optimizer.register_step_post_hook(self._after_step)
        try:
            yield
        finally:
            handle.remove()
            self._found = {}

    def _before_step(self, optimizer: Optimizer) -> None:
        """After two passes compute the direction; after one add it to the gradients."""
        if self._plain:
            self._found = self._find(optimizer)
            return
        state = optimizer.state
        pairs = [
            (p.grad, state[p][DIRECTION])
            for p in state
            if p.grad is not None and DIRECTION in state[p]
        ]
        add_direction([g for g, _ in pairs], [d for _, d in pairs], alpha=self.alpha)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Store it only now: some optimizers take any state of a parameter for their own.

        After a step that a gradient scaler skips there is no state, and nothing is stored.
        """
        if step_is_taken(optimizer):
            for parameter, direction in self._found.items():
                optimizer.state[parameter][DIRECTION] = direction

    def _find(self, optimizer: Optimizer) -> dict[nn.Parameter, Tensor]:
        collected, self._plain = self._plain, {}
        # The second pass's gradients are there on all ranks or on none; in one order on all.
        grads = {
            p: p.grad
            for group in optimizer.param_groups
            for p in group['params']
            if p in collected and p.grad is not None
        }
        plain = [
            torch.zeros_like(grad) if (own := collected[p]) is None else own
            for p, grad in grads.items()
        ]
        if not self.reduced:
            all_reduce_params(plain, op='mean')
        found = adversarial_direction(plain, list(grads.values()))
        return dict(zip(grads, found, strict=True))
