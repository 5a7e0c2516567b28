"""MMEngine hooks: the pruning schedule, checkpoints with structure, and what makes runs exact."""

from .channels_last_hook import ChannelsLastHook
from .data_check_hook import DataCheckHook
from .pruning_hook import PruningHook
from .random_state_hook import RandomStateHook
from .recalibration_hook import RecalibrationHook
from .structure_hook import StructureHook

__all__ = [
    'ChannelsLastHook',
    'DataCheckHook',
    'PruningHook',
    'RandomStateHook',
    'RecalibrationHook',
    'StructureHook',
]
