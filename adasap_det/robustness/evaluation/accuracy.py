"""Top-1 and top-5 accuracy of a classifier, overall and by class, not rounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor

from adasap_det.robustness.evaluation.class_names import distinct
from adasap_det.robustness.per_image import ClassificationOutcomes

_CLASSWISE = 'per_class'


@METRICS.register_module()
class ClassificationAccuracy(BaseMetric):
    """Same as mmpretrain's ``Accuracy``, but as fractions and also by class.

    An image with several true classes, as ObjectNet's, is right if any of them is found, and
    counts for the first one.

    Args:
        per_image: Keep the rank of the true class in each image, in ``outcomes``, on the main
            process.
        collect_device, prefix: As in MMEngine.

    The metrics are ``top1``, ``top5`` if there are more than five classes, and ``per_class``, a
    dictionary of both by class name. Values are fractions, None for a class without images.
    """

    default_prefix = 'robustness'

    def __init__(
        self, *, per_image: bool = False, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.per_image = per_image
        self.outcomes: ClassificationOutcomes | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store the true class of each image and its rank among the scores.

        Raises:
            ValueError: If an image has no true class.
        """
        for sample in data_samples:
            truth = torch.as_tensor(sample.get('gt_label', [])).flatten().tolist()
            if not truth:
                raise ValueError(
                    'the data samples have no gt_label; the data set must provide the classes'
                )
            scores = torch.as_tensor(sample['pred_score']).flatten().cpu()
            best = min(rank_of(scores, label) for label in truth)
            self.results.append((truth[0], best, scores.numel()))

    def compute_metrics(self, results: list[tuple[int, int, int]]) -> dict[str, Any]:
        """Compute the metrics over all images."""
        classes = distinct(self.dataset_meta['classes'])
        depths = {'top1': 1} | ({'top5': 5} if results and results[0][2] > 5 else {})
        total: dict[str, Any] = {}
        by_class: dict[str, dict[str, float | None]] = {}
        for name, depth in depths.items():
            total[name] = _mean_hits([rank < depth for _, rank, _ in results])
            by_class[name] = {
                title: _mean_hits([rank < depth for truth, rank, _ in results if truth == label])
                for label, title in enumerate(classes)
            }
        if self.per_image:
            labels, ranks, _ = np.array(results, np.int32).reshape(-1, 3).T
            self.outcomes = ClassificationOutcomes(labels, ranks)
        return {**total, _CLASSWISE: by_class}


def rank_of(scores: Tensor, label: int) -> int:
    """Return how many classes rank above ``label``: 0 if it has the highest score.

    Ties are broken in favour of the lower label; a score that is not finite ranks last.

    Args:
        scores: Shape ``(C,)``.
        label: In ``[0, C)``.
    """
    own = scores[label]
    if not torch.isfinite(own):
        return scores.numel()
    before = (scores > own) | ((scores == own) & (torch.arange(scores.numel()) < label))
    return int(before.sum())


def _mean_hits(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
