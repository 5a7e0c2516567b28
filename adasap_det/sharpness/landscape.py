"""The loss on a line and on a plane through the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from adasap_det.optim.second_pass import frozen_buffers, perturbed_weights

from .directions import trained_parameters

Measure = Callable[[nn.Module], float]


def line(
    model: nn.Module,
    measure: Measure,
    directions: Sequence[Sequence[Tensor]],
    steps: Sequence[float],
) -> Tensor:
    """Loss at ``w + a * d`` for each direction ``d`` and each step ``a``.

    Args:
        model: The network; weights and buffers are afterwards what they were, to the last bit,
            also when ``measure`` raises.
        measure: Loss of the network as it stands, which should be in evaluation mode.
        directions: ``D`` directions, each with a tensor for each of :func:`trained_parameters`.
        steps: ``S`` lengths along them, in lengths of the direction.

    Returns:
        Losses, shape ``(D, S)``, float64.

    Raises:
        ValueError: If a direction does not fit the parameters.
    """
    for direction in directions:
        _check(model, direction)
    scaled = ([a * d for d in direction] for direction in directions for a in steps)
    return _losses(model, measure, scaled).reshape(len(directions), len(steps))


def plane(
    model: nn.Module,
    measure: Measure,
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    steps: Sequence[float],
) -> Tensor:
    """Loss at ``w + a * d + b * e`` for all pairs of steps ``a`` and ``b``.

    Args:
        model, measure: As for :func:`line`.
        first, second: The directions ``d`` and ``e``.
        steps: ``S`` lengths along each.

    Returns:
        Losses, shape ``(S, S)``, float64; rows go along ``first``, columns along ``second``.

    Raises:
        ValueError: If a direction does not fit the parameters.
    """
    _check(model, first)
    _check(model, second)
    pairs = list(zip(first, second, strict=True))
    scaled = ([a * d + b * e for d, e in pairs] for a in steps for b in steps)
    return _losses(model, measure, scaled).reshape(len(steps), len(steps))


def _losses(
    model: nn.Module, measure: Measure, perturbations: Iterable[Sequence[Tensor]]
) -> Tensor:
    weights = trained_parameters(model)
    values = []
    for perturbation in perturbations:
        with frozen_buffers(model), perturbed_weights(weights, perturbation):
            values.append(float(measure(model)))
    return torch.tensor(values, dtype=torch.float64)


def _check(model: nn.Module, direction: Sequence[Tensor]) -> None:
    expected = [tuple(parameter.shape) for parameter in trained_parameters(model)]
    given = [tuple(tensor.shape) for tensor in direction]
    if expected != given:
        raise ValueError(
            f'a direction of {len(given)} tensors does not fit the {len(expected)} trained '
            f'parameters of this model; make one of trained_parameters(model)'
        )
