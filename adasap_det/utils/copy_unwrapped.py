"""Copies of a model to trace, cut and time, with nothing left in them that runs the model."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar('ModuleT', bound=nn.Module)


def copy_unwrapped(model: ModuleT) -> ModuleT:
    """A deep copy that runs its own layers, whatever was wrapped around ``model``'s methods.

    MMEngine's ``activation_checkpointing`` and its ``compile`` put a function around a method of
    a module, ``forward`` or another, into the module. Copies keep that very function, which goes
    on to run the layers of the original, in its mode; here the copy's own method takes its place.
    """
    shadow = copy.deepcopy(model)
    for module in shadow.modules():
        for name, value in [*vars(module).items()]:
            # Other overrides, a bound method for instance, are copied along as they should be.
            if hasattr(value, '__wrapped__') and _has_method(type(module), name):
                delattr(module, name)
    return shadow


def _has_method(kind: type[nn.Module], name: str) -> bool:
    # A compiled module (OptimizedModule) makes its own forward, in a copy too, and has no other.
    method = getattr(kind, name, None)
    return callable(method) and method is not nn.Module.forward
