"""Metrics of detection and classification.

The task is read from the config's ``default_scope``, as everywhere in OpenMMLab.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adasap_det.utils.config_tree import type_name


@dataclass(frozen=True)
class Task:
    """Detection or classification.

    Attributes:
        name: Name in messages.
        metrics: Metrics of a cell; the first one is the default in tables.
        evaluator: Config of the MMEngine metric that computes them.
    """

    name: str
    metrics: tuple[str, ...]
    evaluator: dict[str, Any]

    def check_metric(self, metric: str | None) -> str:
        """Return the metric, or the default one for None.

        Raises:
            ValueError: If the task has no such metric.
        """
        if metric is None:
            return self.metrics[0]
        if metric not in self.metrics:
            raise ValueError(
                f'--metric {metric!r} is not one of {", ".join(self.metrics)}, the metrics of '
                f'{self.name}'
            )
        return metric


def task_of(cfg: Mapping[str, Any]) -> Task:
    """Return the task of a full config."""
    if cfg.get('default_scope') == 'mmpretrain':
        return Task('classification', ('top1', 'top5'), dict(type='ClassificationAccuracy'))
    return Task(
        'detection', ('AP50', 'AP'), dict(type='DetectionAP', eval_mode=_voc_eval_mode(cfg))
    )


def _voc_eval_mode(cfg: Mapping[str, Any]) -> str:
    """Return ``eval_mode`` of the config's own ``VOCMetric``; 'area' if it has none."""
    evaluators = cfg.get('test_evaluator') or {}
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if type_name(evaluator) == 'VOCMetric':
            return evaluator.get('eval_mode', '11points')
    return 'area'
