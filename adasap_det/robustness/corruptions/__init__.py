"""Fast, seeded implementations of the 19 corruptions of Michaelis et al. 2019, on RGB images."""

from .api import CORRUPTIONS_VERSION, corrupt, corrupt_severities
from .names import (
    BENCHMARK,
    CORRUPTIONS,
    FAMILIES,
    SEVERITIES,
    VALIDATION,
    check_corruptions,
    check_severities,
)
from .seeds import corruption_seed

__all__ = [
    'BENCHMARK',
    'CORRUPTIONS',
    'CORRUPTIONS_VERSION',
    'FAMILIES',
    'SEVERITIES',
    'VALIDATION',
    'check_corruptions',
    'check_severities',
    'corrupt',
    'corrupt_severities',
    'corruption_seed',
]
