"""Where in a test pipeline images are corrupted, and what of it crops have behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adasap_det.utils.config_tree import type_name

_GEOMETRY = (
    'Resize', 'ResizeEdge', 'CenterCrop', 'EfficientNetCenterCrop', 'torchvision/Resize',
    'torchvision/CenterCrop',
)  # fmt: skip


def after_loading(pipeline: Sequence[Any], transform: dict[str, Any]) -> list[Any]:
    """The pipeline with a transform right behind the loading of the image.

    Raises:
        ValueError: If the pipeline loads no image.
    """
    for index, step in enumerate(pipeline):
        if type_name(step).startswith('LoadImage'):
            return _inserted(pipeline, index, transform)
    raise ValueError(
        'the test pipeline has no LoadImageFromFile, behind which images could be corrupted; '
        'evaluate from a built benchmark instead'
    )


def after_cropping(pipeline: Sequence[Any], transform: dict[str, Any]) -> list[Any]:
    """The pipeline with a transform behind the last resizing or cropping, or behind the loading.

    Raises:
        ValueError: If the pipeline loads no image, or crops in a way that is not known.
    """
    _refuse_unknown_crops(pipeline)
    found = [index for index, step in enumerate(pipeline) if type_name(step) in _GEOMETRY]
    if not found:
        return after_loading(pipeline, transform)
    last = found[-1]
    # torchvision's transforms work on a PIL image, corruptions on an array.
    for index in range(last + 1, len(pipeline)):
        if type_name(pipeline[index]) == 'PILToNumpy':
            last = index
    return _inserted(pipeline, last, transform)


def without_cropping(pipeline: Sequence[Any]) -> list[Any]:
    """The pipeline of images that are crops already.

    Raises:
        ValueError: If the pipeline crops in a way that is not known.
    """
    _refuse_unknown_crops(pipeline)
    return [step for step in pipeline if type_name(step) not in _GEOMETRY]


def _inserted(pipeline: Sequence[Any], index: int, transform: dict[str, Any]) -> list[Any]:
    return [*pipeline[: index + 1], transform, *pipeline[index + 1 :]]


def _refuse_unknown_crops(pipeline: Sequence[Any]) -> None:
    for step in pipeline:
        name = type_name(step)
        if name.endswith('Crop') and name not in _GEOMETRY:
            known = ', '.join(crop for crop in _GEOMETRY if crop.endswith('Crop'))
            raise ValueError(
                f'the test pipeline crops with {name}, and ImageNet-C corrupts the crop: where '
                f'that is cannot be told; use one of {known}'
            )
