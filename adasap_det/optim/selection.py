"""Which parameters are perturbed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

import torch
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm, _InstanceNorm
from torch import Tensor, nn

from .perturbation import Rows

LAYERS = ('all', 'norm')
_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def norm_parameters(model: nn.Module) -> set[int]:
    """Ids of the parameters of normalisation layers.

    Raises:
        ValueError: If the model has none.
    """
    found = {
        id(p)
        for module in model.modules()
        if isinstance(module, _NORMS)
        for p in module.parameters(recurse=False)
    }
    if not found:
        raise ValueError(
            "optim_wrapper.layers='norm' perturbs normalisation layers alone, and "
            f"{type(model).__name__} has none; use layers='all'"
        )
    return found


def candidates(
    model: nn.Module, *, exclude: Sequence[str] = (), layers: str = 'all'
) -> list[nn.Parameter]:
    """Parameters that may be perturbed, in the model's order.

    Args:
        model: Without distributed wrapper.
        exclude: Name patterns (``fnmatch``) of parameters that stay.
        layers: ``'all'``, or ``'norm'`` for those of normalisation layers.
    """
    among = norm_parameters(model) if layers == 'norm' else None
    return [
        p
        for name, p in model.named_parameters()
        if p.requires_grad
        and (among is None or id(p) in among)
        and not any(fnmatch(name, pattern) for pattern in exclude)
    ]


def least_important(
    weights: Sequence[nn.Parameter], rows: Mapping[int, Rows], scores: Tensor, *, share: float
) -> list[nn.Parameter]:
    """The share of the grouped parameters whose channels matter least on average.

    Args:
        weights: Parameters to choose from; those of no channel group are all kept.
        rows: Ball of each row by id of the parameter, ball 0 being that of no channel.
        scores: Importance of each channel, shape ``(C,)``; channel ``c`` is ball ``c + 1``.
        share: Of the parameters that belong to channel groups, rounded up.
    """
    padded = torch.cat([scores.new_zeros(1), scores])
    grouped, means = [], []
    for weight in weights:
        row = rows.get(id(weight))
        if row is None or not bool((row.ball > 0).any()):
            continue
        grouped.append(id(weight))
        means.append(padded[row.ball[row.ball > 0].to(padded.device)].mean())
    if not grouped:
        return list(weights)
    order = torch.stack(means).argsort(stable=True).tolist()
    gone = {grouped[i] for i in order[math.ceil(share * len(grouped)) :]}
    return [weight for weight in weights if id(weight) not in gone]
