"""Example images with what a model predicts for them, for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import nn

from adasap_det.robustness.results import CellKey, ExampleImage, load_images, save_images
from adasap_det.utils.modules import unwrap

_SCORE = 0.3
_READABLE = 224


def paint_examples(
    model: nn.Module,
    datasets: Mapping[CellKey, dict[str, Any]],
    *,
    folder: Path,
    number: int = 1,
    score: float = _SCORE,
    conditions: str = '',
) -> list[ExampleImage]:
    """Write images of each cell with the model's detections, or its class and score, on them.

    Args:
        model: A detector or classifier, in whatever wrapper.
        datasets: Config of each cell's data set.
        folder: Of the results; images go to ``images`` in it.
        number: Of images a cell, the first of the data set.
        score: Detections below it are not painted.
        conditions: Of the results. Images that an earlier run painted under the same ones, of
            other corruptions, stay in the list.

    Returns:
        What ``images.json`` lists.
    """
    bare = unwrap(model).eval()
    target = folder / 'images'
    target.mkdir(parents=True, exist_ok=True)
    examples = []
    for (corruption, severity), config in datasets.items():
        dataset = DATASETS.build(config)
        for index in range(min(number, len(dataset))):
            sample = dataset[index]
            with torch.inference_mode():
                (found,) = bare.test_step(pseudo_collate([sample]))
            name = 'clean' if corruption is None else f'{corruption}-{severity}'
            suffix = f'-{index}' if index else ''
            file = target / f'{name}{suffix}.jpg'
            paint = _paint_boxes if 'pred_instances' in found else _paint_class
            paint(_loaded(dataset, index), found.cpu(), dataset.metainfo, file, score)
            examples.append(
                ExampleImage(file.name, corruption, severity, Path(found.img_path).stem, conditions)
            )
    painted = {corruption for corruption, _ in datasets}
    examples += [
        one
        for one in load_images(folder)
        if one.corruption not in painted and one.conditions == conditions
    ]
    save_images(folder, examples)
    return examples


def _paint_boxes(image: Any, found: Any, meta: dict, file: Path, score: float) -> None:
    from mmdet.visualization import DetLocalVisualizer

    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = meta
    visualizer.add_datasample(
        file.stem, image, found, draw_gt=False, pred_score_thr=score, out_file=str(file)
    )


def _paint_class(image: Any, found: Any, meta: dict, file: Path, score: float) -> None:
    from mmpretrain.visualization import UniversalVisualizer

    visualizer = UniversalVisualizer()
    visualizer.dataset_meta = meta
    # Small images, such as CIFAR's, have no room for a word.
    resize = _READABLE if min(image.shape[:2]) < _READABLE else None
    visualizer.visualize_cls(image, found, resize=resize, out_file=str(file))


def _loaded(dataset: Any, index: int) -> Any:
    """The image as it is before anything is resized, RGB."""
    while hasattr(dataset, 'datasets') or hasattr(dataset, 'dataset'):
        if hasattr(dataset, 'datasets'):
            which, index = dataset._get_ori_dataset_idx(index)
            dataset = dataset.datasets[which]
        else:
            dataset = dataset.dataset
    results = dataset.get_data_info(index)
    for transform in dataset.pipeline.transforms:
        if type(transform).__name__ not in ('LoadImageFromFile', 'CorruptImage'):
            break
        results = transform(results)
    return cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB)
