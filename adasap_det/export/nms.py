"""Non-maximum suppression as defined by ONNX, in eager mode and for the exporter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import batched_nms


class NonMaxSuppression(torch.autograd.Function):
    """ONNX's operator of the same name, opset 11 and later, class by class."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
        """Indices of what is left.

        Args:
            boxes: Shape ``(1, P, 4)``: x1, y1, x2, y2.
            scores: Shape ``(1, C, P)``; 0 where a box is no candidate.
            iou_threshold: Boxes that overlap more with a better one of their class go.
            most: Boxes that may be left of a class.

        Returns:
            Shape ``(K, 3)``: image, class, box.
        """
        labels, places = (scores[0] > 0).nonzero(as_tuple=True)
        found = scores[0][labels, places]
        left = batched_nms(boxes[0][places], found, labels, iou_threshold)
        labels, places = labels[left], places[left]
        # The operator's order: by class, best first; and no more than so many of a class.
        order = torch.argsort(labels, stable=True)
        labels, places = labels[order], places[order]
        counts = torch.bincount(labels, minlength=int(scores.shape[1]))
        starts = counts.cumsum(0) - counts
        rank = torch.arange(len(labels), device=labels.device) - starts[labels]
        labels, places = labels[rank < most], places[rank < most]
        return torch.stack([torch.zeros_like(labels), labels, places], dim=1)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, iou_threshold: float, most: int) -> Any:
        """The operator in the graph."""
        return g.op(
            'NonMaxSuppression',
            boxes,
            scores,
            g.op('Constant', value_t=torch.tensor([most], dtype=torch.int64)),
            g.op('Constant', value_t=torch.tensor([iou_threshold], dtype=torch.float32)),
            g.op('Constant', value_t=torch.tensor([0.0], dtype=torch.float32)),
        )
