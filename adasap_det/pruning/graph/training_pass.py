"""A training pass of any model on noise: the branches that only training runs are run."""

from __future__ import annotations

import sys
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor, nn

from .tracing import like_parameters, trace_forward

BOXES = ((0.1, 0.1, 0.6, 0.5), (0.4, 0.3, 0.9, 0.95))
"""Annotated boxes of an image: x1, y1, x2, y2 relative to its size."""


def train_forward(model: nn.Module, inputs: Tensor) -> Any:
    """Losses or outputs of the model in training mode for a batch of two.

    Detectors of MMDetection, classifiers of MMPretrain and segmentors of MMSegmentation compute
    their losses, with annotations made up; detectors of Transformers get annotations too, but
    return their outputs, as their losses need float32; other models are called. Batch statistics
    and random states change.

    Args:
        model: A model that may be changed, in any mode; it is left in training mode.
        inputs: One image, shape ``(1, ...)``.
    """
    model.train()
    batch = like_parameters(inputs, model).repeat(2, *(1 for _ in inputs.shape[1:]))
    if isinstance(model, BaseModel):
        samples = annotated_samples(model, batch)
        if samples is not None:
            return model.loss(batch, samples)  # type: ignore[operator]
    if _is_detector_of_transformers(model):
        model.loss_function = lambda *args, **kwargs: (None, {}, None)  # type: ignore[assignment]
        return model(batch, labels=[_labels(batch) for _ in batch])
    return trace_forward(model, batch)


def annotated_samples(model: Any, batch: Tensor) -> list[Any] | None:
    """Data samples with made-up annotations for detectors and classifiers of OpenMMLab.

    Args:
        model: The model; detectors with mask heads get masks as well.
        batch: The images, shape ``(N, 3, H, W)``.

    Returns:
        A sample for each image; None for other models.
    """
    mmdet, mmpretrain = sys.modules.get('mmdet.models'), sys.modules.get('mmpretrain.models')
    if mmdet is not None and isinstance(model, mmdet.BaseDetector):
        return [_annotated(batch, with_masks=model.with_mask) for _ in batch]
    if mmpretrain is not None and isinstance(model, mmpretrain.BaseClassifier):
        from mmpretrain.structures import DataSample

        return [DataSample().set_gt_label(0) for _ in batch]
    mmseg = sys.modules.get('mmseg.models')
    if mmseg is not None and isinstance(model, mmseg.BaseSegmentor):
        from mmseg.structures import SegDataSample

        labels = torch.zeros(1, *batch.shape[-2:], dtype=torch.long, device=batch.device)
        return [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in batch]
    return None


def _is_detector_of_transformers(model: nn.Module) -> bool:
    library = sys.modules.get('transformers.modeling_utils')
    return (
        library is not None
        and isinstance(model, library.PreTrainedModel)
        and type(model).__name__.endswith('ForObjectDetection')
    )


def _labels(batch: Tensor) -> dict[str, Tensor]:
    x1, y1, x2, y2 = torch.tensor(BOXES).unbind(1)
    boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=1)
    classes = torch.zeros(len(BOXES), dtype=torch.long, device=batch.device)
    return {'class_labels': classes, 'boxes': boxes.to(batch)}


def _annotated(batch: Tensor, *, with_masks: bool) -> Any:
    import numpy as np
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    height, width = batch.shape[-2:]
    shape = (height, width)
    sample = DetDataSample(
        metainfo={
            'img_shape': shape,
            'ori_shape': shape,
            'pad_shape': shape,
            'batch_input_shape': shape,
            'scale_factor': (1.0, 1.0),
        }
    )
    boxes = torch.tensor(BOXES) * torch.tensor([width, height, width, height])
    sample.gt_instances = InstanceData(
        bboxes=boxes.to(batch),
        labels=torch.zeros(len(BOXES), dtype=torch.long, device=batch.device),
    )
    sample.ignored_instances = InstanceData(
        bboxes=batch.new_zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.long, device=batch.device),
    )
    if with_masks:
        for instances in (sample.gt_instances, sample.ignored_instances):
            masks = np.ones((len(instances), height, width), np.uint8)
            instances.masks = BitmapMasks(masks, height, width)
    sample.gt_sem_seg = PixelData(
        sem_seg=torch.zeros(1, height // 8, width // 8, dtype=torch.long, device=batch.device)
    )
    return sample
