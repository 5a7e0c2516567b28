"""What a hook on the optimizer's step has to know of a gradient scaler.

To most optimizers a ``torch.amp.GradScaler`` hands unscaled gradients, and after an overflow it
does not call them. Those that do both in their kernel (``fused=True``) are called in any case, with
the scale and the verdict as attributes for the time of the step.
"""

from __future__ import annotations

from torch.optim import Optimizer


def is_taken(optimizer: Optimizer) -> bool:
    """Whether the step that is under way moves the weights: no gradient overflowed."""
    return not bool(getattr(optimizer, 'found_inf', False))
