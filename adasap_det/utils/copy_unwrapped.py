"""Copy a model without the functions that are wrapped around its methods."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

ModuleT = TypeVar('ModuleT', bound=nn.Module)


def copy_unwrapped(model: ModuleT, *, memo: dict[int, Any] | None = None) -> ModuleT:
    """Return a deep copy that runs its own layers, to trace, prune or time it.

    MMEngine's ``activation_checkpointing`` and ``compile`` store a function that wraps a bound
    method, such as ``forward``, in the module. ``copy.deepcopy`` keeps that function, so a plain
    copy runs the layers of the original; here the copy's own method replaces it.

    Args:
        model: The model.
        memo: Of ``copy.deepcopy``: what stands for objects of the model in the copy, by ``id``.
    """
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        for name, value in [*vars(module).items()]:
            # Other overrides, such as bound methods, are copied correctly.
            if hasattr(value, '__wrapped__') and _has_method(type(module), name):
                delattr(module, name)
    return copied


def _has_method(kind: type[nn.Module], name: str) -> bool:
    # A compiled module (OptimizedModule) creates its own forward, also in a copy; keep it.
    method = getattr(kind, name, None)
    return callable(method) and method is not nn.Module.forward
