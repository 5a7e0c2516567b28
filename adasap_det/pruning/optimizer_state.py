"""Whether an optimizer's state can be pruned with the channels: it can if shaped alike."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .graph.channel_group import ChannelGroup

_LARGEST = 256
"""Size up to which the dimensions of a parameter are tried out: some factor large ones only."""


def check_optimizer(optimizer: Optimizer, model: nn.Module, groups: Sequence[ChannelGroup]) -> None:
    """Check that an optimizer's state has the shape of the parameters, before its first step.

    A new optimizer of the same class and options takes a step on a parameter of its own. One that
    cannot be built from its options, or needs sparse gradients, passes; the first prune step checks
    its state.

    Args:
        optimizer: An optimizer of some of the model's parameters; it is not changed.
        model: The model.
        groups: Its channel groups. Parameters without prunable channels may have any state.

    Raises:
        ValueError: If state has another shape, as a factored second moment has.
    """
    pruned = {piece.name for group in groups for piece in group.slices}
    names = {id(p): name for name, p in model.named_parameters() if name in pruned}
    check_state(optimizer, names)
    found = [
        (parameter, options)
        for options in optimizer.param_groups
        for parameter in options['params']
        if id(parameter) in names and parameter.dim() > 1
    ]
    if not found:
        return
    parameter, options = max(found, key=lambda pair: pair[0].numel())
    state = _state_after_a_step(optimizer, parameter, options)
    shape = torch.Size(min(size, _LARGEST) for size in parameter.shape)
    _check_shapes(optimizer, state, shape, f'a parameter like {names[id(parameter)]}')


def check_state(optimizer: Optimizer, names: Mapping[int, str]) -> None:
    """Check that the state there is has the shape of the parameters.

    Args:
        optimizer: The optimizer.
        names: Names of the parameters to check, by ``id``.

    Raises:
        ValueError: If not.
    """
    for parameter, state in optimizer.state.items():
        if id(parameter) in names:
            _check_shapes(optimizer, state, parameter.shape, names[id(parameter)])


def _check_shapes(
    optimizer: Optimizer, state: Mapping[str, Any], shape: torch.Size, name: str
) -> None:
    for key, value in state.items():
        if isinstance(value, Tensor) and value.numel() > 1 and value.shape != shape:
            raise ValueError(
                f'{type(optimizer).__name__} keeps {key!r} of {name} in shape '
                f"{tuple(value.shape)}, not the parameter's {tuple(shape)}; it cannot be pruned "
                f'with the channels. Use an optimizer whose state has the shape of the parameters '
                f'(SGD, Adam, AdamW, Lion, ...)'
            )


def _state_after_a_step(
    optimizer: Optimizer, parameter: Tensor, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """State of a new optimizer of the same kind after one step; empty if it cannot be made."""
    like = torch.ones(
        [min(size, _LARGEST) for size in parameter.shape],
        dtype=parameter.dtype,
        device=parameter.device,
    )
    tried = nn.Parameter(like)
    tried.grad = torch.ones_like(like)
    try:
        accepted = _arguments(type(optimizer))
        new = type(optimizer)(
            [tried], **{k: options[k] for k in optimizer.defaults if k in accepted}
        )
        new.step(lambda: 1.0)  # LBFGS needs a closure, others take one
        return new.state[tried]
    except Exception:  # whatever the class raises: it cannot be tried out
        return {}


def _arguments(kind: type) -> set[str]:
    """Names of a class's arguments, with those that it passes its own on to."""
    names: set[str] = set()
    for each in kind.__mro__:
        if '__init__' in vars(each):
            found = inspect.signature(vars(each)['__init__']).parameters.values()
            names |= {argument.name for argument in found}
            if all(argument.kind is not argument.VAR_KEYWORD for argument in found):
                break
    return names
