"""Sharpness-aware optimization: the maths, the second pass and MMEngine's wrappers."""

from .loss_check import NonFiniteLossError
from .optim_wrapper import AdaSAPOptimWrapper, AmpAdaSAPOptimWrapper
from .perturbation import Ascent, Balls, Rows, ascent_perturbation
from .radius_map import adaptive_radius

__all__ = [
    'AdaSAPOptimWrapper',
    'AmpAdaSAPOptimWrapper',
    'Ascent',
    'Balls',
    'NonFiniteLossError',
    'Rows',
    'adaptive_radius',
    'ascent_perturbation',
]
