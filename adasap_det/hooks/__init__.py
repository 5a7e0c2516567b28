"""MMEngine hooks: the pruning schedule, checkpoints with structure, and what makes runs exact."""

from .data_check_hook import DataCheckHook
from .pruning_hook import PruningHook
from .random_state_hook import RandomStateHook
from .structure_hook import StructureHook

__all__ = ['DataCheckHook', 'PruningHook', 'RandomStateHook', 'StructureHook']
