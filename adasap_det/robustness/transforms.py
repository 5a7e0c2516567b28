"""Corruption inside a data pipeline."""

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
    """Corrupts the image as ``tools/make_voc_c.py`` does, before encoding.

    Put it right behind the loading of the image, before anything resizes it::

        dict(type='LoadImageFromFile'),
        dict(type='CorruptImage', corruption='fog', severity=3),

    MMDetection's loader gives BGR; corruptions are defined on RGB. The image is turned round,
    corrupted and turned back. (MMDetection's own ``Corrupt`` hands BGR to functions that expect
    RGB, so that frost, snow, spatter and JPEG differ there.)

    Args:
        corruption: One of the 19 names.
        severity: 1 to 5.
        seed: Of the benchmark.
        color_order: Of ``results['img']``: 'bgr', what MMDetection's loader gives, or 'rgb'.
        image_id: What names the image, together with the options above the seed of its random
            field: ``'stem'`` of ``img_path`` without folder and suffix, as VOC names images;
            ``'img_id'``; or a folder, below which the path with '/' is the name, as for COCO's
            ``file_name`` and for image folders.

    Raises:
        ValueError: If an option is none of these.
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
            raise ValueError(f'CorruptImage.corruption {corruption!r} is a set; give one of them')
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
                "CorruptImage needs results['img']; put it behind LoadImageFromFile in the pipeline"
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
    """The name of a sample's image, which determines its noise.

    Args:
        results: The sample, as data sets and transforms pass it on.
        image_id: As :class:`CorruptImage` has it.

    Raises:
        ValueError: If the sample has not what names it.
    """
    key = 'img_id' if image_id == 'img_id' else 'img_path'
    if results.get(key) is None:
        raise ValueError(
            f'CorruptImage(image_id={image_id!r}) needs results[{key!r}], which names the '
            f'image and so determines its noise; this sample has {sorted(results)}'
        )
    if key == 'img_id':
        return str(results[key])
    path = Path(results[key])
    if image_id == 'stem':
        return path.stem
    try:
        return path.relative_to(image_id).as_posix()
    except ValueError:
        raise ValueError(f'{path} does not lie in image_id={image_id!r}') from None
