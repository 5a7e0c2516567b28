"""Sharpness-aware optimization: the maths, the second pass and MMEngine's wrappers."""

from .optim_wrapper import AdaSAPOptimWrapper, AmpAdaSAPOptimWrapper
from .perturbation import Rows, adaptive_radius, ascent_perturbation

__all__ = [
    'AdaSAPOptimWrapper',
    'AmpAdaSAPOptimWrapper',
    'Rows',
    'adaptive_radius',
    'ascent_perturbation',
]
