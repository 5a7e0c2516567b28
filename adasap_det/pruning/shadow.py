"""Copies of a model to trace, cut and time, with nothing left in them that runs the model."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar('ModuleT', bound=nn.Module)


def shadow_of(model: ModuleT) -> ModuleT:
    """A deep copy that runs its own layers, whatever was wrapped around ``model``'s methods.

    MMEngine's ``activation_checkpointing`` and ``torch.compile`` put a function around a module's
    ``forward`` into the module. Copies keep that very function, which goes on to run the layers
    of the original, in its mode; here the copy's own method takes its place.
    """
    shadow = copy.deepcopy(model)
    for module in shadow.modules():
        # Other overrides, a bound method for instance, are copied along as they should be.
        if hasattr(module.__dict__.get('forward'), '__wrapped__'):
            del module.forward
    return shadow
