"""What a hook on the optimizer's step has to know of a gradient scaler.

To most optimizers a ``torch.amp.GradScaler`` hands unscaled gradients, and after an overflow it
does not call them. Those that do both in their kernel (``fused=True``) are called in any case, with
the scale and the verdict as attributes for the time of the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim import Optimizer


def is_taken(optimizer: Optimizer) -> bool:
    """Whether the step that is under way moves the weights: no gradient overflowed."""
    return not bool(getattr(optimizer, 'found_inf', False))


@contextmanager
def unscaled_gradients(optimizer: Optimizer) -> Iterator[None]:
    """The gradients less a scale that is left to the step under way; afterwards as they were.

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
