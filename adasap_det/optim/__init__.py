"""Sharpness-aware optimization: the maths, the second pass and MMEngine's wrappers."""

from .loss_check import NonFiniteLossError
from .optim_wrapper import AdaSAPOptimWrapper, AmpAdaSAPOptimWrapper
from .perturbation import Rows, adaptive_radius, ascent_perturbation

__all__ = [
    'AdaSAPOptimWrapper',
    'AmpAdaSAPOptimWrapper',
    'NonFiniteLossError',
    'Rows',
    'adaptive_radius',
    'ascent_perturbation',
]
