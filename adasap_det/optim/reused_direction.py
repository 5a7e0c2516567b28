"""Carries the adversarial direction from a two-pass step to those that are spared the second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.dist import all_reduce_params
from torch import Tensor, nn
from torch.optim import Optimizer

from .reuse import add_direction, adversarial_direction
from .scaled_step import is_taken

DIRECTION = 'adasap_direction'
"""Key of the direction in the optimizer's state: saved, resumed and cut like momentum."""


class ReusedDirection:
    """The direction of LookSAM (arXiv 2203.02714), kept in the optimizer's state.

    Args:
        alpha: Length of what is added in the steps between, as a share of the gradient's norm.
        reduced: Whether the first pass's gradients are the same on all ranks already; else they
            are averaged over them.
    """

    def __init__(self, *, alpha: float, reduced: bool) -> None:
        self.alpha = alpha
        self.reduced = reduced
        self._plain: dict[nn.Parameter, Tensor] = {}  # gradients of the first passes, summed
        self._found: dict[nn.Parameter, Tensor] = {}

    def collect(self, weights: Sequence[nn.Parameter], grads: Sequence[Tensor]) -> None:
        """Note the gradients of a first pass; those of a step's micro-batches add up."""
        for weight, grad in zip(weights, grads, strict=True):
            if weight in self._plain:
                self._plain[weight] += grad
            else:
                self._plain[weight] = grad.clone()

    def forget(self) -> None:
        """Drop what was noted: no step of this kind follows."""
        self._plain = {}

    def is_known(self, optimizer: Optimizer) -> bool:
        """Whether an earlier step left a direction."""
        return any(DIRECTION in state for state in optimizer.state.values())

    @contextmanager
    def around_step(self, optimizer: Optimizer) -> Iterator[None]:
        """Use the direction, or find a new one, in the step that is taken inside."""
        self._before_step(optimizer)
        handle = optimizer.register_step_post_hook(self._after_step)
        try:
            yield
        finally:
            handle.remove()
            self._found = {}

    def _before_step(self, optimizer: Optimizer) -> None:
        """After two passes find the direction; after one add it to the gradients."""
        if self._plain:
            self._found = self._find()
            return
        state = optimizer.state
        pairs = [
            (p.grad, state[p][DIRECTION])
            for p in state
            if p.grad is not None and DIRECTION in state[p]
        ]
        add_direction([g for g, _ in pairs], [d for _, d in pairs], alpha=self.alpha)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Only now keep it: some optimizers take any state of a parameter for their own.

        A step that a gradient scaler skips leaves the optimizer without state, and finds nothing.
        """
        if is_taken(optimizer):
            for parameter, direction in self._found.items():
                optimizer.state[parameter][DIRECTION] = direction

    def _find(self) -> dict[nn.Parameter, Tensor]:
        noted, self._plain = self._plain, {}
        used = [p for p in noted if p.grad is not None]
        plain = [noted[p] for p in used]
        if not self.reduced:
            all_reduce_params(plain, op='mean')
        found = adversarial_direction(plain, [p.grad for p in used if p.grad is not None])
        return dict(zip(used, found, strict=True))
