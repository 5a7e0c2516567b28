"""Sharpness of a minimum: the loss around the weights, and its curvature."""

from .directions import filter_normalized_direction, trained_parameters
from .hessian import TopEigenvalue, top_eigenvalue
from .landscape import line, plane

__all__ = [
    'TopEigenvalue',
    'filter_normalized_direction',
    'line',
    'plane',
    'top_eigenvalue',
    'trained_parameters',
]
