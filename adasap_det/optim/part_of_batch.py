"""A part of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

LEAST = 2
"""Images at least: batch norm over one value a channel is an error."""


def part_of_batch(args: tuple, kwargs: Mapping[str, Any], ratio: float) -> tuple[tuple, dict]:
    """The first images of a call of a model, of each tensor and list that has one entry an image.

    Args:
        args, kwargs: Arguments of the call; the first tensor, or list of tensors, is the images.
        ratio: Of the images, rounded up.

    Raises:
        ValueError: If there is no tensor among the arguments.
    """
    size = next((len(each) for each in (*args, *kwargs.values()) if _is_images(each)), None)
    if size is None:
        raise ValueError("optim_wrapper.ascent='subbatch' found no tensor of images in the batch")
    count = min(max(math.ceil(ratio * size), LEAST), size)

    def part(value: Any) -> Any:
        batched = isinstance(value, (Tensor, list, tuple)) and not (
            isinstance(value, Tensor) and value.dim() == 0
        )
        if not batched or len(value) != size:
            return value
        if isinstance(value, Tensor):  # a leaf, which can be copied, also where it takes a gradient
            return value.detach()[:count].requires_grad_(value.requires_grad)
        return value[:count]

    return tuple(map(part, args)), {key: part(value) for key, value in kwargs.items()}


def _is_images(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dim() > 0
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], Tensor)
