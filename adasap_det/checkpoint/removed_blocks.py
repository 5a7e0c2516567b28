"""Blocks that were removed as a whole: what stands in their place, and their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


class RemovedBlock(nn.Module):
    """Returns its first argument; in place of a block, so that the others keep their names."""

    def forward(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return inputs


def removed_blocks(model: nn.Module) -> list[str]:
    """Dotted names of the blocks that were removed from a model."""
    return [name for name, m in model.named_modules() if isinstance(m, RemovedBlock)]


def replace_blocks(model: nn.Module, names: Iterable[str]) -> None:
    """Put a :class:`RemovedBlock` in the place of each of these modules, in the same mode."""
    for name in names:
        parent, _, own = name.rpartition('.')
        owner = model.get_submodule(parent)
        setattr(owner, own, RemovedBlock().train(getattr(owner, own).training))


def is_inside(name: str, blocks: Iterable[str]) -> bool:
    """Whether a layer, a tensor or a channel group is inside one of the blocks, by name."""
    return any(name.startswith(f'{block}.') for block in blocks)
