"""Gradients known before a step's forward pass: momentum, or that of the step before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from .grad_scaler import step_is_taken

PREVIOUS = 'adasap_previous_gradient'
"""Key of the last step's gradient in the optimizer's state: saved, resumed and pruned with it."""

MOMENTUM = ('exp_avg', 'momentum_buffer')
"""Keys of the momentum in the states of PyTorch's optimizers and of those modelled on them."""


def remembered_gradients(
    optimizer: Optimizer, weights: Sequence[nn.Parameter], *, ascent: str
) -> list[Tensor | None]:
    """A copy of the gradient that the optimizer remembers of each parameter; None where unknown.

    Args:
        optimizer: Its state is read.
        weights: Parameters.
        ascent: ``'momentum'`` for the running average of the gradients (Momentum-SAM, arXiv
            2401.12033), ``'previous'`` for the last step's gradient (S2-SAM).

    Raises:
        ValueError: If the optimizer has made steps and keeps no momentum.
    """
    if ascent == 'previous':
        return [_copy(optimizer.state.get(weight, {}).get(PREVIOUS)) for weight in weights]
    share = {
        id(p): 1 - group['momentum'] if group.get('momentum') else 1.0
        for group in optimizer.param_groups
        for p in group['params']
    }
    found: list[Tensor | None] = []
    for weight in weights:
        state = optimizer.state.get(weight, {})
        momentum = next((state[key] for key in MOMENTUM if state.get(key) is not None), None)
        # SGD adds the gradients up: in the mean 1 / (1 - momentum) times one of them.
        found.append(None if momentum is None else momentum * share[id(weight)])
    if optimizer.state and all(grad is None for grad in found):
        raise ValueError(
            f"optim_wrapper.ascent='momentum' needs an optimizer with momentum, and "
            f'{type(optimizer).__name__} keeps none: set its momentum (or betas), or use '
            f"ascent='previous'"
        )
    return found


def remember_gradients(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Keep the gradients of this step: a hook to run after the optimizer's step.

    Not before: some optimizers take any state of a parameter for their own.
    """
    if not step_is_taken(optimizer):
        return
    for group in optimizer.param_groups:
        for p in group['params']:
            if p.grad is not None:
                optimizer.state[p][PREVIOUS] = p.grad.detach().clone()


def _copy(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.clone()
