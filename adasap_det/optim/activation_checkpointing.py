"""Detection of activation checkpointing."""

from __future__ import annotations

from torch import nn


def uses_activation_checkpointing(model: nn.Module) -> bool:
    """Whether a module may recompute its activations during its backward pass.

    OpenMMLab's backbones do so by ``with_cp``; MMEngine's ``activation_checkpointing`` replaces
    ``forward`` on the modules that it names. A ``forward`` replaced for another reason counts too.
    """
    return any(
        getattr(module, 'with_cp', False) or 'forward' in vars(module) for module in model.modules()
    )
