"""Sharpness-aware optimization: the maths, the second pass and MMEngine's wrappers."""

from .loss_check import NonFiniteLossError
from .optim_wrapper import AdaSAPOptimWrapper, AmpAdaSAPOptimWrapper
from .perturbation import Ascent, Rows, ascent_perturbation
from .radius_map import adaptive_radius

__all__ = [
    'AdaSAPOptimWrapper',
    'AmpAdaSAPOptimWrapper',
    'Ascent',
    'NonFiniteLossError',
    'Rows',
    'adaptive_radius',
    'ascent_perturbation',
]
