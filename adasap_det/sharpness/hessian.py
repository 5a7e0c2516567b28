"""The largest eigenvalue of the Hessian of the loss, without ever forming the Hessian."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

Losses = Callable[[], Iterable[Tensor]]

_NOT_TWICE = re.compile('double backward|derivative|differentia', re.I)
"""In the words of PyTorch's, torchvision's and others' errors."""


@dataclass(frozen=True)
class TopEigenvalue:
    """What the power iteration came to.

    Attributes:
        value: Rayleigh quotient; never above the largest eigenvalue, but for rounding.
        iterations: Hessian-vector products that it took.
        converged: Whether an eigenvalue is known to lie within the tolerance of ``value``.
    """

    value: float
    iterations: int
    converged: bool


def top_eigenvalue(
    losses: Losses,
    parameters: Sequence[Tensor],
    *,
    iterations: int = 20,
    tolerance: float = 0.01,
    seed: int = 0,
) -> TopEigenvalue:
    """The algebraically largest eigenvalue of the Hessian of the mean loss, by power iteration.

    Power iteration finds the eigenvalue largest in magnitude. Where that is negative, or where
    eigenvalues of both signs keep it from converging, a second one of up to as many iterations
    follows on ``H + s I``, with ``s`` the magnitude the first one found: there all eigenvalues are
    shifted to where the largest is the largest in magnitude as well.

    Args:
        losses: Yields the loss of each batch with its graph, recomputed and equal at each call;
            only one graph is alive at a time. The model should be in evaluation mode.
        parameters: What to differentiate by.
        iterations: At most so many Hessian-vector products for each of the two. A product costs
            about as much as two training steps without the update.
        tolerance: The iteration ends when ``|H v - value * v| <= tolerance * |value|``: then an
            eigenvalue is no further from ``value`` than that.
        seed: Of the vector it starts from.

    Raises:
        ValueError: If an argument is out of its range, a product is not finite, or an operator
            has no second derivative.

    Source: PyHessian, Yao et al. 2020 (arXiv 1912.07145), section III; they stop when ``value``
    changes little, which it also does far from any eigenvalue. The shift and the bound are in
    Golub and Van Loan, Matrix Computations, sections 7.3 and 8.1.
    """
    if iterations < 1:
        raise ValueError(f'iterations must be at least 1, got {iterations}')
    if not tolerance > 0:
        raise ValueError(f'tolerance must be positive, got {tolerance}')
    if not parameters:
        raise ValueError('there are no parameters to differentiate by; all of them are frozen')
    generator = torch.Generator().manual_seed(seed)
    like = parameters_to_vector([p.detach() for p in parameters])

    def random_vector() -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)

    def product(vector: Tensor) -> Tensor:
        return hessian_product(losses, parameters, vector)

    first = _power(product, random_vector(), 0.0, iterations, tolerance)
    if first.converged and first.value >= 0:
        return TopEigenvalue(first.value, first.iterations, True)
    # A vector that has converged has almost no part of the others; one that has not is better
    # than a new one.
    start = random_vector() if first.converged else first.vector
    second = _power(product, start, first.magnitude, iterations, tolerance)
    return TopEigenvalue(second.value, first.iterations + second.iterations, second.converged)


def hessian_product(losses: Losses, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Hessian of the mean loss times a vector, by differentiating twice.

    Args:
        losses, parameters: As for :func:`top_eigenvalue`.
        vector: Shape ``(N,)``, all parameters one after the other.

    Returns:
        The product, shape ``(N,)``. Kinks, as those of ReLU, count as the function beside them:
        straight.

    Raises:
        ValueError: If an operator has no second derivative, or there are no losses.
    """
    parts = vector.split([parameter.numel() for parameter in parameters])
    total = torch.zeros_like(vector)
    count = 0
    for loss in losses():
        total += _product_of_one(loss, parameters, parts)
        count += 1
    if not count:
        raise ValueError('there are no batches to take the loss of')
    return total / count


def _product_of_one(loss: Tensor, parameters: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
    used = [
        (gradient, part.view_as(gradient))
        for gradient, part in zip(gradients, parts, strict=True)
        if gradient is not None and gradient.requires_grad
    ]
    products: Sequence[Tensor | None] = [None] * len(parameters)
    if used:
        outputs, vectors = zip(*used, strict=True)
        _require_second_derivatives(outputs)
        try:
            products = torch.autograd.grad(outputs, parameters, vectors, allow_unused=True)
        except RuntimeError as error:
            if not _NOT_TWICE.search(str(error)):
                raise
            raise _not_twice(str(error).splitlines()[0]) from error
    return torch.cat(
        [
            torch.zeros_like(parameter).flatten() if product is None else product.flatten()
            for parameter, product in zip(parameters, products, strict=True)
        ]
    )


def _require_second_derivatives(gradients: Iterable[Tensor]) -> None:
    """Find what ``@once_differentiable`` leaves in the graph.

    ``autograd.grad`` goes round it, since no parameter is behind it, and so would leave out a part
    of the Hessian without a word.
    """
    ahead = [gradient.grad_fn for gradient in gradients]
    seen = set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == 'torch::autograd::Error':
            raise _not_twice('it is marked with @once_differentiable')
        ahead += [following for following, _ in node.next_functions]


def _not_twice(reason: str) -> ValueError:
    return ValueError(
        f'an operator of this model has no second derivative, which the Hessian needs ({reason}); '
        f'go without the eigenvalue (--no-eigenvalue)'
    )


@dataclass(frozen=True)
class _Run:
    value: float
    magnitude: float
    vector: Tensor
    iterations: int
    converged: bool


def _power(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    shift: float,
    iterations: int,
    tolerance: float,
) -> _Run:
    """Power iteration on ``H + shift * I``; ``value`` and ``magnitude`` are those of ``H``."""
    vector = start / start.norm()
    for iteration in range(1, iterations + 1):
        image = product(vector)
        value = float(vector.dot(image))
        magnitude = float(image.norm())
        if not math.isfinite(value) or not math.isfinite(magnitude):
            raise ValueError('a Hessian-vector product is not finite; is the loss?')
        if float((image - value * vector).norm()) <= tolerance * abs(value):
            return _Run(value, magnitude, vector, iteration, True)
        moved = image + shift * vector
        vector = moved / moved.norm()
    return _Run(value, magnitude, vector, iterations, False)
