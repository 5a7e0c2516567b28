"""Detection of losses that are not finite, before they reach the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MOST_SKIPPED = 50
"""Steps in a row that a gradient scaler may skip: by then its scale is practically zero."""


class NonFiniteLossError(FloatingPointError):
    """A loss is nan or infinite; the weights are as they were before the step."""


def bad_components(losses: Any) -> list[str]:
    """Names of the entries that are not finite, with their values.

    Args:
        losses: What a model returns in ``mode='loss'``: tensors or lists of tensors by name.
    """
    if not isinstance(losses, Mapping):
        return []
    found = []
    for name, value in losses.items():
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, Tensor) and not bool(torch.isfinite(part).all()):
                worst = part.detach().float().flatten()
                found.append(f'{name} = {float(worst[~torch.isfinite(worst)][0])}')
                break
    return found


def describe(loss: Tensor, losses: Any, *, iteration: int, perturbed: bool) -> str:
    """One sentence: the iteration, the components and what to do."""
    components = ', '.join(bad_components(losses)) or f'loss = {float(loss.detach())}'
    where = ' at the perturbed weights' if perturbed else ''
    remedy = (
        'lower rho and rho_max, or set clip_grad'
        if perturbed
        else 'lower the learning rate, set clip_grad, or check the images of this iteration'
    )
    return f'the loss is not finite{where} in iteration {iteration}: {components}; {remedy}'
