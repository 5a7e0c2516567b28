"""Comparison of the detections of an exported file with the model's, up to ties of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .graphs import DecodedDetector
from .onnx import largest_difference

# Of the overlap of two boxes that both runtimes compute.
_ROUNDING = 1e-3


def detections_difference(
    graph: DecodedDetector, images: Tensor, detections: Sequence[Tensor]
) -> float:
    """Largest difference of a file's detections from what the graph finds.

    Boxes cannot be compared one by one: of scores that differ only by rounding, as those of a
    network that has learnt little, either may come first, suppress the other, or be the last of
    so many. So scores are compared by rank, each detection with the candidate of its label that
    is nearest to it, and no two of a label may overlap more than the suppression allows.

    Args:
        graph: In PyTorch.
        images: One image, shape ``(1, 3, H, W)``.
        detections: Boxes ``(K, 4)``, scores ``(K,)`` and labels ``(K,)`` of the file.

    Returns:
        Of scores, and of boxes relative to the side of the image; infinite if there are more
        or fewer detections than in PyTorch, or two overlap.
    """
    boxes, scores, labels = detections
    with torch.no_grad():
        all_boxes, all_scores = graph.candidates(images)
        expected = graph.select(all_boxes, all_scores)[1]
    worst = largest_difference([expected], [scores])
    if math.isinf(worst) or boxes.shape != (len(scores), 4) or labels.shape != scores.shape:
        return float('inf')
    overlaps = (box_iou(boxes, boxes) > graph.iou_threshold + _ROUNDING) & (
        labels[:, None] == labels
    )
    if overlaps.fill_diagonal_(False).any():
        return float('inf')
    scale = float(max(images.shape[-2:]))
    for box, score, label in zip(boxes, scores, labels, strict=True):
        off = torch.maximum(
            (all_boxes - box).abs().amax(1) / scale, (all_scores[:, int(label)] - score).abs()
        )
        nearest = float(off.min())
        if math.isnan(nearest):
            return float('inf')
        worst = max(worst, nearest)
    return worst
