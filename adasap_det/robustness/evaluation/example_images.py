"""Example images for the report, with the model's predictions drawn on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import nn

from adasap_det.robustness.results import (
    CellKey,
    ExampleImage,
    load_example_images,
    save_example_images,
)
from adasap_det.utils.modules import unwrap

_MIN_SCORE = 0.3
_MIN_SIDE = 224


def draw_examples(
    model: nn.Module,
    datasets: Mapping[CellKey, dict[str, Any]],
    *,
    folder: Path,
    number: int = 1,
    score: float = _MIN_SCORE,
    conditions: str = '',
) -> list[ExampleImage]:
    """Write images of each cell with the model's detections, or its class and score, drawn on them.

    Args:
        model: A detector or classifier; may be wrapped.
        datasets: Config of each cell's data set.
        folder: Results folder; images are written to its subfolder ``images``.
        number: Number of images per cell, from the start of the data set.
        score: Minimum score of the detections that are drawn.
        conditions: Conditions of the results. Images of other corruptions that an earlier run drew
            under the same conditions stay in the list.

    Returns:
        The entries of ``images.json``.
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
            draw = _draw_boxes if 'pred_instances' in found else _draw_class
            draw(_loaded(dataset, index), found.cpu(), dataset.metainfo, file, score)
            examples.append(
                ExampleImage(file.name, corruption, severity, Path(found.img_path).stem, conditions)
            )
    drawn = {corruption for corruption, _ in datasets}
    examples += [
        one
        for one in load_example_images(folder)
        if one.corruption not in drawn and one.conditions == conditions
    ]
    save_example_images(folder, examples)
    return examples


def _draw_boxes(image: Any, found: Any, meta: dict, file: Path, score: float) -> None:
    from mmdet.visualization import DetLocalVisualizer

    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = meta
    visualizer.add_datasample(
        file.stem, image, found, draw_gt=False, pred_score_thr=score, out_file=str(file)
    )


def _draw_class(image: Any, found: Any, meta: dict, file: Path, score: float) -> None:
    from mmpretrain.visualization import UniversalVisualizer

    visualizer = UniversalVisualizer()
    visualizer.dataset_meta = meta
    # The label does not fit on small images, such as CIFAR's.
    resize = _MIN_SIDE if min(image.shape[:2]) < _MIN_SIDE else None
    visualizer.visualize_cls(image, found, resize=resize, out_file=str(file))


def _loaded(dataset: Any, index: int) -> Any:
    """Load an image, corrupted but not resized, as RGB."""
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
