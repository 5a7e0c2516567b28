"""Model wrappers that sharpness-aware steps do not support."""

from __future__ import annotations

from torch import nn

_SHARDED = {
    'FullyShardedDataParallel': 'FSDP',
    'FSDPModule': 'FSDP',
    'DeepSpeedEngine': 'DeepSpeed',
    'MMDeepSpeedEngineWrapper': 'DeepSpeed',
}


def check_not_sharded(model: nn.Module) -> None:
    """Check that parameters are not split over the ranks.

    Raises:
        RuntimeError: For FSDP and DeepSpeed, with the reason and what to use.
    """
    for cls in type(model).__mro__:
        if cls.__name__ in _SHARDED:
            raise RuntimeError(
                f'AdaSAP does not train through {_SHARDED[cls.__name__]}: a rank holds pieces of '
                f'flattened parameters, in which channels can be neither perturbed nor pruned. Use '
                f"model_wrapper_cfg=dict(type='MMDistributedDataParallel'); a detector that is "
                f'to be pruned fits on one device'
            )
