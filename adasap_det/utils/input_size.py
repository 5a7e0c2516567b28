"""The size of images that a config trains with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adasap_det.utils.config_tree import iter_hooks, type_name


def pipeline_input_size(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width that the training pipeline resizes to, the largest where it draws them.

    A ``RandomCrop`` to, and a ``Pad`` to, a fixed number of pixels count too where they follow:
    RTMDet resizes to 1280 pixels and trains on crops of 640.

    Raises:
        ValueError: If no ``Resize`` with a ``scale`` is found.
    """
    size = None
    for node in _transforms(cfg.get('train_dataloader') or {}):
        name = str(node.get('type'))
        # torchvision's RandomResizedCrop has shares of the area in its scale.
        torchvision = 'torchvision/' in name
        scale = node.get('size' if torchvision else 'scale')
        if 'Resize' in name and scale is not None:
            if size is not None:
                break  # another branch, or another data set
            size = _largest(scale)[::-1] if torchvision else _largest(scale)
        elif size is None:
            continue
        elif type_name(node) == 'RandomCrop' and node.get('crop_type', 'absolute') == 'absolute':
            scope = name.rpartition('.')[0] or cfg.get('default_scope')
            size = _cropped(size, node['crop_size'], height_first=scope == 'mmpretrain')
        elif type_name(node) == 'Pad' and node.get('size') is not None:
            width, height = _largest(node['size'])
            size = max(size[0], width), max(size[1], height)
    if size is not None:
        return size[1], size[0]
    raise ValueError(
        'PruningHook.input_size is not set, and no Resize in train_dataloader tells the size that '
        'MACs are counted at; set input_size=(height, width)'
    )


def _transforms(node: Any) -> Iterator[Mapping[str, Any]]:
    """Everything in a config that has a type, in its order."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _transforms(value)


def _largest(scale: Any) -> tuple[int, int]:
    """Width and height of a number, of a pair, or of a range of pairs (RandomResize's)."""
    if isinstance(scale, int):
        return scale, scale
    if len(scale) == 1:
        scale = [scale[0], scale[0]]
    if isinstance(scale[0], Sequence):
        scale = [max(sides) for sides in zip(*scale, strict=True)]
    return int(scale[0]), int(scale[1])


def _cropped(size: tuple[int, int], crop: Any, *, height_first: bool) -> tuple[int, int]:
    """Width and height of a crop; mmdet's take no more than there is, mmpretrain's may pad."""
    first, second = _largest(crop)
    return (second, first) if height_first else (min(size[0], first), min(size[1], second))


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
    for size in (given, *(hook.get('input_size') for hook in iter_hooks(cfg))):
        if size is not None:
            return int(size[0]), int(size[1])
    try:
        return pipeline_input_size(cfg)
    except ValueError:
        raise ValueError(
            'the config does not tell the size of its images; give --input-size H W'
        ) from None
