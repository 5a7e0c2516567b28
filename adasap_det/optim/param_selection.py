"""Selection of the parameters to perturb."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import torch
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm, _InstanceNorm
from torch import Tensor, nn

from adasap_det.utils.name_patterns import matches

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
            "optim_wrapper.layers='norm' perturbs only normalisation layers, and "
            f"{type(model).__name__} has none; use layers='all'"
        )
    return found


def perturbable_parameters(
    model: nn.Module, *, exclude: Sequence[str] = (), layers: str = 'all'
) -> list[nn.Parameter]:
    """Parameters that may be perturbed, in the model's order.

    Args:
        model: Without distributed wrapper.
        exclude: Name patterns (``fnmatch``) of parameters to leave out; a pattern also covers
            everything inside a module that it names.
        layers: ``'all'``, or ``'norm'`` for those of normalisation layers.
    """
    among = norm_parameters(model) if layers == 'norm' else None
    return [
        p
        for name, p in model.named_parameters()
        if p.requires_grad and (among is None or id(p) in among) and not matches(name, exclude)
    ]


def check_exclude(model: nn.Module, exclude: Sequence[str]) -> None:
    """Check that every pattern of ``exclude`` matches a parameter; if not, it is likely a typo.

    Args:
        model: Without distributed wrapper.
        exclude: As in :func:`perturbable_parameters`.

    Raises:
        ValueError: If a pattern matches no parameter, frozen ones included.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in exclude:
        if any(matches(name, [pattern]) for name in names):
            continue
        known = [*(name for name, _ in model.named_modules() if name), *names]
        close = difflib.get_close_matches(pattern, known, n=4, cutoff=0.5) or names[:4]
        raise ValueError(
            f'optim_wrapper.exclude pattern {pattern!r} matches no parameter of '
            f'{type(model).__name__}; names look like {", ".join(close)}'
        )


def least_important(
    weights: Sequence[nn.Parameter],
    rows: Mapping[int, Rows],
    scores: Tensor,
    *,
    perturb_ratio: float,
) -> list[nn.Parameter]:
    """The ratio of the grouped parameters whose channels are least important on average.

    Args:
        weights: Parameters to choose from; those of no channel group are all kept.
        rows: Ball of each row by id of the parameter, ball 0 being that of no channel.
        scores: Importance of each channel, shape ``(C,)``; channel ``c`` is ball ``c + 1``.
        perturb_ratio: Of the parameters that belong to channel groups, rounded up.
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
    left_out = {grouped[i] for i in order[math.ceil(perturb_ratio * len(grouped)) :]}
    return [weight for weight in weights if id(weight) not in left_out]
