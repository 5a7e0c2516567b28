"""Importance criteria."""

from .base import Importance
from .fpgm import FPGMImportance
from .magnitude import LAMPImportance, MagnitudeImportance
from .norm_scale import NormScaleImportance
from .random import RandomImportance
from .taylor import TaylorImportance

__all__ = [
    'FPGMImportance',
    'Importance',
    'LAMPImportance',
    'MagnitudeImportance',
    'NormScaleImportance',
    'RandomImportance',
    'TaylorImportance',
]
