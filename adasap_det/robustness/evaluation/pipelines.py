"""Insert the corruption into a test pipeline, and remove cropping from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adasap_det.utils.config_tree import type_name

_GEOMETRY = (
    'Resize', 'ResizeEdge', 'CenterCrop', 'EfficientNetCenterCrop', 'torchvision/Resize',
    'torchvision/CenterCrop',
)  # fmt: skip


def insert_after_loading(pipeline: Sequence[Any], transform: dict[str, Any]) -> list[Any]:
    """Insert a transform directly after the image is loaded.

    Raises:
        ValueError: If the pipeline does not load an image.
    """
    for index, step in enumerate(pipeline):
        if type_name(step).startswith('LoadImage'):
            return _inserted(pipeline, index, transform)
    raise ValueError(
        'the test pipeline has no LoadImageFromFile to insert the corruption after; '
        'evaluate on a built benchmark instead'
    )


def insert_after_cropping(pipeline: Sequence[Any], transform: dict[str, Any]) -> list[Any]:
    """Insert a transform after the last resize or crop, or after loading if there is none.

    Raises:
        ValueError: If the pipeline does not load an image or uses an unknown crop.
    """
    _check_crops(pipeline)
    found = [index for index, step in enumerate(pipeline) if type_name(step) in _GEOMETRY]
    if not found:
        return insert_after_loading(pipeline, transform)
    last = found[-1]
    # torchvision's transforms take a PIL image, corruptions an array.
    for index in range(last + 1, len(pipeline)):
        if type_name(pipeline[index]) == 'PILToNumpy':
            last = index
    return _inserted(pipeline, last, transform)


def remove_cropping(pipeline: Sequence[Any]) -> list[Any]:
    """Remove resizing and cropping, for images that are already cropped.

    Raises:
        ValueError: If the pipeline uses an unknown crop.
    """
    _check_crops(pipeline)
    return [step for step in pipeline if type_name(step) not in _GEOMETRY]


def _inserted(pipeline: Sequence[Any], index: int, transform: dict[str, Any]) -> list[Any]:
    return [*pipeline[: index + 1], transform, *pipeline[index + 1 :]]


def _check_crops(pipeline: Sequence[Any]) -> None:
    for step in pipeline:
        name = type_name(step)
        if name.endswith('Crop') and name not in _GEOMETRY:
            known = ', '.join(crop for crop in _GEOMETRY if crop.endswith('Crop'))
            raise ValueError(
                f'the test pipeline crops with {name}, which is not supported: ImageNet-C corrupts '
                f'the cropped image; use one of {known}'
            )
