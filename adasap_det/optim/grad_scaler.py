"""The state of a gradient scaler, as a hook on the optimizer's step sees it.

For most optimizers a ``torch.amp.GradScaler`` unscales the gradients, and does not call ``step``
after an overflow. Those that do both in their kernel (``fused=True``) are always called, with the
scale and the overflow flag as attributes during the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim import Optimizer


def step_is_taken(optimizer: Optimizer) -> bool:
    """Whether the present step updates the weights: no gradient overflowed."""
    return not bool(getattr(optimizer, 'found_inf', False))


@contextmanager
def unscaled_gradients(optimizer: Optimizer) -> Iterator[None]:
    """Unscale the gradients inside, if the optimizer's step would, and restore them afterwards.

    Costs a copy of the gradients if there is such a scale, else nothing.
    """
    scale = getattr(optimizer, 'grad_scale', None)
    if scale is None:
        yield
        return
    scaled = [
        (p, p.grad)
        for group in optimizer.param_groups
        for p in group['params']
        if p.grad is not None
    ]
    try:
        for p, grad in scaled:
            p.grad = grad / scale.to(grad.device)
        yield
    finally:
        for p, grad in scaled:
            p.grad = grad
