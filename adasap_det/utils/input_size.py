"""Find the image size that a config trains with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adasap_det.utils.config_tree import iter_hooks, type_name


def pipeline_input_size(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Return the height and width that the training pipeline resizes to, the largest of a range.

    A ``RandomCrop`` or ``Pad`` to a fixed number of pixels after the resizing is included: RTMDet
    resizes to 1280 pixels and trains on crops of 640.

    Raises:
        ValueError: If no ``Resize`` with a ``scale`` is found.
    """
    size = None
    for node in _transforms(cfg.get('train_dataloader') or {}):
        name = str(node.get('type'))
        # The scale of torchvision's RandomResizedCrop is a range of area fractions.
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
        'PruningHook.input_size is not set, and train_dataloader has no Resize with the size that '
        'MACs are counted at; set input_size=(height, width)'
    )


def _transforms(node: Any) -> Iterator[Mapping[str, Any]]:
    """Iterate over everything in a config that has a type, in order."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _transforms(value)


def _largest(scale: Any) -> tuple[int, int]:
    """Width and height of a number, a pair, or a range of pairs (of RandomResize)."""
    if isinstance(scale, int):
        return scale, scale
    if len(scale) == 1:
        scale = [scale[0], scale[0]]
    if isinstance(scale[0], Sequence):
        scale = [max(sides) for sides in zip(*scale, strict=True)]
    return int(scale[0]), int(scale[1])


def _cropped(size: tuple[int, int], crop: Any, *, height_first: bool) -> tuple[int, int]:
    """Width and height after a crop; mmdet's is limited to the image, mmpretrain's may pad."""
    first, second = _largest(crop)
    return (second, first) if height_first else (min(size[0], first), min(size[1], second))


def config_input_size(
    cfg: Mapping[str, Any], given: Sequence[int] | None = None
) -> tuple[int, int]:
    """Return the height and width that a tool uses.

    Args:
        cfg: Full config.
        given: Size from the command line; by default that of the config's ``PruningHook``, else
            that of its training pipeline.

    Raises:
        ValueError: If none of them gives a size.
    """
    for size in (given, *(hook.get('input_size') for hook in iter_hooks(cfg))):
        if size is not None:
            return int(size[0]), int(size[1])
    try:
        return pipeline_input_size(cfg)
    except ValueError:
        raise ValueError(
            'the size of the images is not in the config; give --input-size H W'
        ) from None
