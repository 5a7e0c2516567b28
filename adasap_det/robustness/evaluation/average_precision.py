"""VOC's AP50 and COCO's AP from the same detections, overall and by class, not rounded."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from adasap_det.robustness.per_image import DetectionOutcomes, average_precision

_CLASSWISE = 'per_class'


@METRICS.register_module()
class DetectionAP(BaseMetric):
    """AP50 as in the devkit of Pascal VOC, and AP as in MMDetection's ``CocoMetric``, not rounded.

    With ``'area'``, AP50 is that of MMDetection's ``VOCMetric``. With ``'11points'`` the two differ
    where a recall is exactly 0.6 or 0.7, which ``VOCMetric`` does not count as reached.

    Ground truth is read from the data samples, so the test pipeline needs ``LoadAnnotations``, as
    in MMDetection's configs. VOC's difficult boxes and COCO's crowd boxes are ignored: they count
    neither as detected nor as missed. A detected box that is not finite matches nothing; a score
    that is not finite counts as 0.

    Args:
        eval_mode: ``'area'`` under the curve, or VOC2007's ``'11points'``; for AP50 only.
        per_image: Keep what each image contributes to AP50, in ``outcomes``, on the main process.
        collect_device, prefix: As in MMEngine.

    The metrics are ``AP50``, ``AP`` (over IoU 0.50 to 0.95) and ``per_class``, a dictionary of both
    by class name. Values are fractions, None for a class without objects.
    """

    default_prefix = 'robustness'

    def __init__(
        self,
        *,
        eval_mode: str = 'area',
        per_image: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if eval_mode not in ('area', '11points'):
            raise ValueError(f"eval_mode must be 'area' or '11points', got {eval_mode!r}")
        self.eval_mode = eval_mode
        self.per_image = per_image
        self.outcomes: DetectionOutcomes | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store ground truth and detections of each image on the CPU."""
        for sample in data_samples:
            if 'gt_instances' not in sample:
                raise ValueError(
                    'the data samples have no gt_instances; add '
                    "dict(type='LoadAnnotations', with_bbox=True) to the test pipeline"
                )
            ignored = sample.get('ignored_instances') or {}
            found = _numpy(sample['pred_instances']['bboxes'])
            scores = _numpy(sample['pred_instances']['scores'])
            # pycocotools would match a box of NaN with any object.
            found = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, 0)
            self.results.append(
                dict(
                    bboxes=_numpy(sample['gt_instances']['bboxes']),
                    labels=_numpy(sample['gt_instances']['labels']),
                    bboxes_ignore=_numpy(ignored.get('bboxes', np.zeros((0, 4)))).reshape(-1, 4),
                    labels_ignore=_numpy(ignored.get('labels', np.zeros(0))),
                    found=found,
                    scores=np.where(np.isfinite(scores), scores, 0),
                    found_labels=_numpy(sample['pred_instances']['labels']),
                )
            )

    def compute_metrics(self, results: list[dict[str, np.ndarray]]) -> dict[str, Any]:
        """Compute the metrics over all images."""
        classes = self.dataset_meta['classes']
        by_metric = {
            'AP50': [
                voc_ap(results, label, eval_mode=self.eval_mode) for label in range(len(classes))
            ],
            'AP': coco_ap(results, len(classes)),
        }
        if self.per_image:
            self.outcomes = detection_outcomes(results, len(classes), eval_mode=self.eval_mode)
        return {
            **{name: _mean(values) for name, values in by_metric.items()},
            _CLASSWISE: {
                name: dict(zip(classes, values, strict=True)) for name, values in by_metric.items()
            },
        }


def voc_ap(
    results: Sequence[dict[str, np.ndarray]],
    label: int,
    *,
    eval_mode: str,
    iou_thr: float = 0.5,
) -> float | None:
    """Average precision of one class as in VOC: greedy matching, widths of ``x2 - x1 + 1``.

    Same as MMDetection's ``eval_map``, without its process pool and its printed table, except for
    some values of ``'11points'``: see :func:`~adasap_det.robustness.per_image.average_precision`.

    Args:
        results: One entry an image: ``bboxes`` and ``labels`` of the objects, ``bboxes_ignore``
            and ``labels_ignore``, and ``found``, ``scores`` and ``found_labels``.
        label: The class.
        eval_mode: ``'area'`` or ``'11points'``.
        iou_thr: Minimum IoU for a match.

    Returns:
        A fraction, or None if there are no objects of the class.
    """
    matched = match_class(results, label, iou_thr=iou_thr)
    objects = matched.objects.sum()
    if objects == 0:
        return None
    order = np.argsort(-matched.scores)
    hits, misses = matched.hits[order], matched.misses[order]
    true, false = (np.cumsum(each, dtype=np.float64)[None, hits > 0] for each in (hits, misses))
    return float(average_precision(true, false, objects[None], eval_mode=eval_mode)[0])


class Matched(NamedTuple):
    """Detections of one class, matched with the objects of their images.

    Attributes:
        objects: Number of objects in each image.
        images, scores: Index of the image and score of each detection.
        hits, misses: 1 if it matches an object, 1 if it is wrong; both 0 if it is ignored.
    """

    objects: np.ndarray
    images: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    misses: np.ndarray


def match_class(
    results: Sequence[dict[str, np.ndarray]], label: int, *, iou_thr: float = 0.5
) -> Matched:
    """Match the detections of a class; the arguments are those of :func:`voc_ap`."""
    from mmdet.evaluation.functional.mean_ap import tpfp_default

    objects, images, scores, hits, misses = [], [], [], [], []
    for index, result in enumerate(results):
        truth = result['bboxes'][result['labels'] == label]
        ignored = result['bboxes_ignore'][result['labels_ignore'] == label]
        mine = result['found_labels'] == label
        score = result['scores'][mine]
        found = np.hstack([result['found'][mine], score[:, None]]).astype(np.float32)
        hit, miss = tpfp_default(
            found,
            truth.astype(np.float32),
            ignored.astype(np.float32),
            iou_thr,
            use_legacy_coordinate=True,
        )
        objects.append(len(truth))
        images.append(np.full(len(score), index))
        scores.append(score)
        hits.append(hit[0])
        misses.append(miss[0])
    lists = (images, scores, hits, misses)
    return Matched(np.array(objects), *(np.concatenate(each) for each in lists))


def detection_outcomes(
    results: Sequence[dict[str, np.ndarray]], classes: int, *, eval_mode: str
) -> DetectionOutcomes:
    """What each image contributes to AP50; the arguments are those of :func:`voc_ap`."""
    matched = [match_class(results, label) for label in range(classes)]
    return DetectionOutcomes(
        objects=np.stack([one.objects for one in matched], axis=1).astype(np.int32),
        image=np.concatenate([one.images for one in matched]).astype(np.int32),
        label=np.repeat(np.arange(classes), [len(one.scores) for one in matched]).astype(np.int32),
        score=np.concatenate([one.scores for one in matched]),
        hit=np.concatenate([one.hits for one in matched]).astype(bool),
        miss=np.concatenate([one.misses for one in matched]).astype(bool),
        eval_mode=eval_mode,
    )


def coco_ap(results: Sequence[dict[str, np.ndarray]], classes: int) -> list[float | None]:
    """AP over IoU 0.50 to 0.95 of each class, by pycocotools, 100 detections an image.

    Returns:
        Fractions; None for a class without objects.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, result in enumerate(results):
        for crowd, boxes, labels in (
            (0, result['bboxes'], result['labels']),
            (1, result['bboxes_ignore'], result['labels_ignore']),
        ):
            for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
                x, y, width, height = _corner_and_size(box)
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image,
                        category_id=int(label),
                        bbox=[x, y, width, height],
                        area=abs(width * height),  # a negative area would leave it out
                        iscrowd=crowd,
                    )
                )
        found += [
            dict(image_id=image, category_id=int(label), bbox=_corner_and_size(box), score=score)
            for box, label, score in zip(
                result['found'].tolist(),
                result['found_labels'].tolist(),
                result['scores'].tolist(),
                strict=True,
            )
        ]
    truth.dataset = dict(
        images=[dict(id=image) for image in range(len(results))],
        annotations=annotations,
        categories=[dict(id=label, name=str(label)) for label in range(classes)],
    )
    counts = np.bincount(
        [a['category_id'] for a in annotations if not a['iscrowd']], minlength=classes
    )
    if not found:
        return [0.0 if count else None for count in counts]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][:, :, :, 0, 2]  # all areas, 100 detections
    return [
        float(precision[:, :, label].mean()) if counts[label] else None for label in range(classes)
    ]


def _corner_and_size(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _numpy(values: Any) -> np.ndarray:
    if hasattr(values, 'numpy') and not hasattr(values, 'detach'):
        values = values.numpy()  # BaseBoxes of mmdet.structures
    return values.detach().cpu().numpy() if hasattr(values, 'detach') else np.asarray(values)
