"""Structured pruning: channel groups, their importance, the budget and the surgery."""

from .analysis import find_channel_groups
from .budget import exponential_target, select_channels
from .budget_types import MACsBudget, ParamsBudget
from .channels import ChannelGroup
from .cost import count_macs, count_params
from .importance import (
    FPGMImportance,
    Importance,
    LAMPImportance,
    MagnitudeImportance,
    NormScaleImportance,
    RandomImportance,
    TaylorImportance,
)
from .latency import LatencyBudget
from .structure import describe, shrink
from .surgery import cut_channels

__all__ = [
    'ChannelGroup',
    'FPGMImportance',
    'Importance',
    'LAMPImportance',
    'LatencyBudget',
    'MACsBudget',
    'MagnitudeImportance',
    'NormScaleImportance',
    'ParamsBudget',
    'RandomImportance',
    'TaylorImportance',
    'count_macs',
    'count_params',
    'cut_channels',
    'describe',
    'exponential_target',
    'find_channel_groups',
    'select_channels',
    'shrink',
]
