"""AP50 of a detector on the demo's test images, clean and corrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from adasap_det.robustness.corruptions import BENCHMARK, corrupt
from adasap_det.robustness.evaluation.average_precision import DetectionAP, detection_outcomes
from adasap_det.robustness.per_image import DetectionOutcomes
from adasap_det.robustness.results import CLEAN, CellKey
from adasap_det.utils.io import atomic_write

_BATCH = 50
_MIXED = 1
"""Stands for the severity of a cell in which each image has one of the five."""


def corrupt_images(images: Sequence[Path], out: Path) -> None:
    """Write every image under each of the 15 corruptions, each at one of the five severities.

    The severities are spread evenly over the images of a corruption and over the corruptions of an
    image. A file that exists is kept.

    Args:
        images: Image files of one size.
        out: File to write, ``.npz``: by corruption uint8, ``(N, H, W, 3)``, BGR.
    """
    if out.is_file():
        return
    pixels = [read_image(path) for path in images]
    found = {
        name: np.stack(
            [
                corrupt(
                    np.ascontiguousarray(image[..., ::-1]),
                    corruption=name,
                    severity=1 + (index + shift) % 5,
                    image_id=path.stem,
                )[..., ::-1]
                for index, (path, image) in enumerate(zip(images, pixels, strict=True))
            ]
        )
        for shift, name in enumerate(BENCHMARK)
    }
    with atomic_write(out) as temporary, temporary.open('wb') as file:
        np.savez(file, **found)  # type: ignore[arg-type]


class Scenes:
    """The test images in memory, clean and corrupted.

    Args:
        cfg: Config of the detector.
        corrupted: File from :func:`corrupt_images`.
    """

    def __init__(self, cfg: Config, corrupted: Path) -> None:
        from mmdet.registry import DATASETS

        init_default_scope('mmdet')
        data = DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': []})
        self.classes: tuple[str, ...] = data.metainfo['classes']
        infos = [data.get_data_info(index) for index in range(len(data))]
        pipeline = Compose(cfg.test_pipeline[1:])  # the images are in memory
        clean = [read_image(info['img_path']) for info in infos]
        self._cells: dict[CellKey, list[dict]] = {CLEAN: _prepared(pipeline, infos, clean)}
        with np.load(corrupted) as file:
            for name in file.files:
                self._cells[name, _MIXED] = _prepared(pipeline, infos, file[name])

    def outcomes(self, model: Any) -> Iterator[tuple[CellKey, DetectionOutcomes]]:
        """What a detector finds in each image, cell by cell: clean, then each corruption."""
        model.eval().to(memory_format=torch.channels_last)  # faster on CPUs
        for key, samples in self._cells.items():
            metric = DetectionAP()
            for batch in _batches(samples):
                collated = pseudo_collate(batch)
                with torch.no_grad():
                    found = model.test_step(collated)
                metric.process(collated, [sample.to_dict() for sample in found])
            yield key, detection_outcomes(metric.results, len(self.classes), eval_mode='area')

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self._cells)


def ap50(outcomes: DetectionOutcomes) -> float:
    """AP50 of a cell, 0 to 1."""
    return float(outcomes.metric(np.ones((1, outcomes.images)))[0])


def summary(cells: Mapping[CellKey, DetectionOutcomes]) -> dict[str, float]:
    """P, AP50 on the clean images, and mPC, its mean over the corruptions; both 0 to 1."""
    corrupted = [ap50(each) for key, each in cells.items() if key != CLEAN]
    return {'P': ap50(cells[CLEAN]), 'mPC': float(np.mean(corrupted))}


def read_image(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read an image: BGR, ``(H, W, 3)``.

    Raises:
        ValueError: If it cannot be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f'{path} cannot be read as an image')
    return image.astype(np.uint8, copy=False)


def _batches(samples: Sequence[dict]) -> Iterator[list[dict]]:
    for start in range(0, len(samples), _BATCH):
        yield list(samples[start : start + _BATCH])


def _prepared(
    pipeline: Compose, infos: Sequence[dict], images: Sequence[npt.NDArray[Any]]
) -> list[dict]:
    return [
        pipeline({**info, 'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]})
        for info, image in zip(infos, images, strict=True)
    ]
