"""The size of pictures that a config trains with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def config_input_size(
    cfg: Mapping[str, Any], given: Sequence[int] | None = None
) -> tuple[int, int]:
    """Height and width that a tool works at.

    Args:
        cfg: Whole config.
        given: Of the command line, first in line; then comes the config's own pruning, then its
            training pipeline.

    Raises:
        ValueError: If none tells.
    """
    for size in (given, *(hook.get('input_size') for hook in cfg.get('custom_hooks') or [])):
        if size is not None:
            return int(size[0]), int(size[1])
    try:
        return pipeline_input_size(cfg)
    except ValueError:
        raise ValueError(
            'the config does not tell the size of its pictures; give --input-size H W'
        ) from None
