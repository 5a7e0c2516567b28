"""Structured pruning: channel groups, their importance, the budget and the surgery."""

from adasap_det.checkpoint.structure import describe, shrink

from .all_sizes import save_elastic
from .budgets.cost import count_macs, count_params
from .budgets.counts import MACsBudget, ParamsBudget
from .budgets.latency import LatencyBudget
from .budgets.selection import exponential_target, select_channels
from .graph.analysis import find_channel_groups
from .graph.channel_group import ChannelGroup
from .importance import (
    FPGMImportance,
    Importance,
    LAMPImportance,
    MagnitudeImportance,
    NormScaleImportance,
    RandomImportance,
    TaylorImportance,
)
from .pruner import Pruner, PruneResult
from .surgery import prune_channels

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
    'PruneResult',
    'Pruner',
    'RandomImportance',
    'TaylorImportance',
    'count_macs',
    'count_params',
    'describe',
    'exponential_target',
    'find_channel_groups',
    'prune_channels',
    'save_elastic',
    'select_channels',
    'shrink',
]
