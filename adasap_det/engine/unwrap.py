"""The model inside whatever a distributed run puts around it."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> Any:
    """``model`` without its DDP (or other MMEngine) wrapper, typed as what a config may build."""
    return model.module if is_model_wrapper(model) else model
