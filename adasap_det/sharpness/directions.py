"""Filter-normalised random directions in weight space, comparable between networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that directions have a tensor for: those that are not frozen."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def filter_normalized_direction(
    parameters: Sequence[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """A Gaussian direction whose filters are as long as the filters of the weights.

    A network with larger weights tolerates larger steps, so equal steps do not compare two
    networks. A step along this direction is relative to each filter's own norm.

    Args:
        parameters: Weights; the rows along their first axis are the filters.
        generator: Where the noise comes from; its device is that of the draw.

    Returns:
        A tensor for each parameter, of its shape. The direction of biases, norms and other
        parameters of one axis is zero, and so is that of filters that are zero.

    Source: filter-wise normalization, Li et al. 2018 (arXiv 1712.09913), section 4; parameters of
    one axis as their code's ``ignore='biasbn'``.
    """
    return [_direction(parameter.detach(), generator) for parameter in parameters]


def _direction(weight: Tensor, generator: torch.Generator) -> Tensor:
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    noise = torch.randn(
        weight.shape, generator=generator, device=generator.device, dtype=weight.dtype
    ).to(weight.device)
    axes = tuple(range(1, weight.dim()))
    length = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    drawn = torch.linalg.vector_norm(noise, dim=axes, keepdim=True)
    return noise * (length / drawn.clamp_min(torch.finfo(weight.dtype).tiny))
