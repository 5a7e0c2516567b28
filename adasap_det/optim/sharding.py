"""Model wrappers that a sharpness-aware step can't be taken through."""

from __future__ import annotations

from torch import nn

_SHARDED = {
    'FullyShardedDataParallel': 'FSDP',
    'FSDPModule': 'FSDP',
    'DeepSpeedEngine': 'DeepSpeed',
    'MMDeepSpeedEngineWrapper': 'DeepSpeed',
}


def check_not_sharded(model: nn.Module) -> None:
    """Raise where parameters are split over the ranks.

    Raises:
        RuntimeError: For FSDP and DeepSpeed, with the reason and what to use.
    """
    for cls in type(model).__mro__:
        if cls.__name__ in _SHARDED:
            raise RuntimeError(
                f'AdaSAP does not train through {_SHARDED[cls.__name__]}: a rank holds pieces of '
                f'flattened parameters, in which channels can be neither perturbed nor cut. Use '
                f"model_wrapper_cfg=dict(type='MMDistributedDataParallel'); a detector that is "
                f'to be pruned fits on one device'
            )
