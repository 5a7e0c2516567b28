"""The size of pictures that a config trains with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pipeline_input_size(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width that the training pipeline resizes to.

    Raises:
        ValueError: If no ``Resize`` with a ``scale`` is found.
    """

    def scales(node: Any) -> Any:
        if isinstance(node, Mapping):
            if 'Resize' in str(node.get('type')) and 'scale' in node:
                yield node['scale']
            for value in node.values():
                yield from scales(value)
        elif isinstance(node, (list, tuple)):
            for value in node:
                yield from scales(value)

    for scale in scales(cfg.get('train_dataloader') or {}):
        width, height = (scale, scale) if isinstance(scale, int) else scale[:2]
        return int(height), int(width)
    raise ValueError(
        'PruningHook.input_size is not set, and no Resize in train_dataloader tells the size that '
        'MACs are counted at; set input_size=(height, width)'
    )
