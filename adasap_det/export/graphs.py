"""A model as a traceable function from pixels to tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adasap_det.pruning.graph.tracing import trace_forward

from .nms import NonMaxSuppression


class RawNetwork(nn.Module):
    """Pixels in, outputs of the last layers out.

    Input: float32, shape ``(N, 3, H, W)``, values 0 to 255, channels in the order in which the
    config's pipeline loads them (BGR); the normalisation is part of the network.

    Args:
        model: Detector or classifier of MMEngine with a data preprocessor.

    Raises:
        ValueError: If the model has a second stage, whose boxes go through operators that are
            in no exported graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        if hasattr(model, 'roi_head'):
            raise ValueError(
                f'{type(model).__name__} has a second stage (RoIAlign on proposals); only '
                f'one-stage detectors and classifiers can be exported'
            )
        self.model = model
        preprocessor = model.data_preprocessor
        mean = getattr(preprocessor, 'mean', None)
        std = getattr(preprocessor, 'std', None)
        self.register_buffer('mean', torch.zeros(3, 1, 1) if mean is None else mean.clone())
        self.register_buffer('std', torch.ones(3, 1, 1) if std is None else std.clone())
        self.flip = bool(
            getattr(preprocessor, '_channel_conversion', False)  # detectors
            or getattr(preprocessor, 'to_rgb', False)  # classifiers
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(flat(self.outputs(images)))

    def outputs(self, images: Tensor) -> Any:
        """The same as the model nests them."""
        if self.flip:
            images = images.flip(1)
        return trace_forward(self.model, (images - self.mean) / self.std)


class DecodedDetector(nn.Module):
    """Pixels in, boxes after non-maximum suppression out.

    Input as of :class:`RawNetwork`, one image. Outputs: boxes ``(K, 4)`` in pixels of the
    input, scores ``(K,)`` descending, labels ``(K,)``. The same as the detector's own prediction,
    except that candidates are not limited to ``nms_pre`` of a level before the suppression.

    Args:
        model: One-stage detector whose head decodes as mmdet's ``BaseDenseHead`` does.

    Raises:
        ValueError: If its head decodes otherwise, or the suppression is not plain NMS.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.raw = RawNetwork(model)
        self.head = _plain_head(model)
        cfg = model.test_cfg
        nms = dict(cfg.get('nms') or {})
        if nms.get('type') != 'nms' or nms.get('class_agnostic'):
            raise ValueError(
                f'test_cfg.nms is {nms}; only plain NMS by class can be part of the graph. Export '
                f'without NMS'
            )
        self.iou_threshold = float(nms.get('iou_threshold') or nms.get('iou_thr') or 0.5)
        self.score_threshold = float(cfg.get('score_thr', 0))
        self.most = int(cfg.get('max_per_img', 100))
        self.min_size = float(cfg.get('min_bbox_size', -1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.select(*self.candidates(images))

    def select(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the candidates: boxes ``(P, 4)``, scores ``(P, C)``."""
        kept = NonMaxSuppression.apply(boxes[None], scores.t()[None], self.iou_threshold, self.most)
        labels, places = kept[:, 1], kept[:, 2]
        values, order = scores[places, labels].sort(descending=True)
        order = order[: self.most]
        return boxes[places[order]], values[: self.most], labels[order]

    def candidates(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``(P, 4)`` and scores ``(P, C)``, 0 below the threshold."""
        head: Any = self.head
        outputs = self.raw.outputs(images)
        classes, deltas = outputs[:2]
        factors = outputs[2] if len(outputs) > 2 else None
        priors = head.prior_generator.grid_priors(
            [tuple(level.shape[-2:]) for level in classes], dtype=images.dtype, device=images.device
        )
        scores = torch.cat([_rows(level, head.cls_out_channels) for level in classes])
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[:, :-1]
        candidate = scores > self.score_threshold
        if factors is not None:
            scores = scores * torch.cat([_rows(level, 1) for level in factors]).sigmoid()
        deltas = torch.cat([_rows(level, head.bbox_coder.encode_size) for level in deltas])
        # Clipped here: mmdet's own export path calls a missing module (3.3, onedl 3.5).
        boxes = head.bbox_coder.decode(torch.cat(priors), deltas)
        if getattr(head.bbox_coder, 'clip_border', True):
            height, width = images.shape[-2:]
            boxes = torch.stack(
                [boxes[:, i].clamp(0, side) for i, side in enumerate((width, height) * 2)], dim=1
            )
        if self.min_size >= 0:
            large = (boxes[:, 2:] - boxes[:, :2] > self.min_size).all(1)
            candidate = candidate & large[:, None]
        return boxes, scores * candidate


def make_graph(model: nn.Module, *, nms: bool) -> nn.Module:
    """The graph to export, in evaluation mode.

    Raises:
        ValueError: See :class:`RawNetwork` and :class:`DecodedDetector`.
    """
    return (DecodedDetector(model) if nms else RawNetwork(model)).eval()


def flat(outputs: Any) -> list[Tensor]:
    """Tensors of nested tuples and lists, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for part in outputs if part is not None for tensor in flat(part)]


def _rows(level: Tensor, columns: int) -> Tensor:
    """Predictions of one image's level, shape ``(positions x priors, columns)``."""
    return level[0].permute(1, 2, 0).reshape(-1, columns)


def _plain_head(model: Any) -> nn.Module:
    head = getattr(model, 'bbox_head', None)
    if head is None:
        raise ValueError(f'{type(model).__name__} has no boxes to suppress; export without NMS')
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    own = ('predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
    changed = [
        name for name in own if getattr(type(head), name, None) is not getattr(BaseDenseHead, name)
    ]
    if changed or not hasattr(head, 'prior_generator'):
        raise ValueError(
            f'{type(head).__name__} decodes its outputs in a way of its own '
            f'({", ".join(changed) or "no priors"}); export without NMS'
        )
    return head
