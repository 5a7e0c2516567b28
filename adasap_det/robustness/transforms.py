"""Data pipeline transform that corrupts images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

from adasap_det.robustness.corruptions import check_corruptions, check_severities, corrupt

COLOR_ORDERS = ('bgr', 'rgb')


@TRANSFORMS.register_module()
class CorruptImage:
    """Corrupt the image as ``tools/make_voc_c.py`` does before encoding.

    Place it directly after image loading, before any resizing::

        dict(type='LoadImageFromFile'),
        dict(type='CorruptImage', corruption='fog', severity=3),

    MMDetection's loader returns BGR, but corruptions are defined on RGB. The image is converted,
    corrupted and converted back. (MMDetection's own ``Corrupt`` passes BGR to functions that expect
    RGB, so its frost, snow, spatter and JPEG differ.)

    Args:
        corruption: One of the 19 names.
        severity: 1 to 5.
        seed: Seed of the benchmark.
        color_order: Channel order of ``results['img']``: 'bgr', as in MMDetection, or 'rgb'.
        image_id: Source of the image's name, which with the options above determines its random
            field: ``'stem'`` for ``img_path`` without folder and suffix, as in VOC; ``'img_id'``;
            or a folder that ``img_path`` is made relative to (with '/'), as for COCO's
            ``file_name`` and for image folders.

    Raises:
        ValueError: If an option is invalid.
    """

    def __init__(
        self,
        corruption: str,
        severity: int,
        *,
        seed: int = 0,
        color_order: str = 'bgr',
        image_id: str = 'stem',
    ) -> None:
        if check_corruptions([corruption]) != (corruption,):
            raise ValueError(f'CorruptImage.corruption {corruption!r} is a set; pass a single one')
        (self.severity,) = check_severities([severity])
        if color_order not in COLOR_ORDERS:
            raise ValueError(
                f'CorruptImage.color_order must be one of {COLOR_ORDERS}, got {color_order!r}'
            )
        self.corruption = corruption
        self.seed = seed
        self.color_order = color_order
        self.image_id = image_id

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Corrupt ``results['img']``, uint8 ``(H, W, 3)``."""
        if not isinstance(results.get('img'), np.ndarray):
            raise ValueError(
                "CorruptImage requires results['img']; place it after LoadImageFromFile"
            )
        image = results['img']
        bgr = self.color_order == 'bgr' and image.ndim == 3 and image.shape[2] >= 3
        if bgr:
            image = image[..., 2::-1]
        name = image_name(results, self.image_id)
        try:
            image = corrupt(
                image,
                corruption=self.corruption,
                severity=self.severity,
                image_id=name,
                seed=self.seed,
            )
        except ValueError as error:
            raise ValueError(f'{results.get("img_path", name)}: {error}') from error
        results['img'] = np.ascontiguousarray(image[..., ::-1]) if bgr else image
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, severity={self.severity}, '
            f'seed={self.seed}, color_order={self.color_order!r}, image_id={self.image_id!r})'
        )


def image_name(results: Mapping[str, Any], image_id: str) -> str:
    """Return the name of a sample's image, which determines its noise.

    Args:
        results: Sample of a data set or pipeline.
        image_id: Same as in :class:`CorruptImage`.

    Raises:
        ValueError: If the sample has no such key, or the path is outside the folder.
    """
    key = 'img_id' if image_id == 'img_id' else 'img_path'
    if results.get(key) is None:
        raise ValueError(
            f'CorruptImage(image_id={image_id!r}) requires results[{key!r}], the image name that '
            f'determines the noise; this sample has {sorted(results)}'
        )
    if key == 'img_id':
        return str(results[key])
    path = Path(results[key])
    if image_id == 'stem':
        return path.stem
    try:
        return path.relative_to(image_id).as_posix()
    except ValueError:
        raise ValueError(f'{path} is not inside the folder image_id={image_id!r}') from None
