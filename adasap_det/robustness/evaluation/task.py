"""What differs between detection and classification when robustness is evaluated.

The config's ``default_scope`` says which it is, as it does for everything else in OpenMMLab.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adasap_det.utils.config_tree import type_name


@dataclass(frozen=True)
class Task:
    """One of the tasks.

    Attributes:
        name: For people.
        metrics: That a cell has, the first being the one in tables unless told otherwise.
        evaluator: Config of MMEngine's metric that computes them.
    """

    name: str
    metrics: tuple[str, ...]
    evaluator: dict[str, Any]

    def check_metric(self, metric: str | None) -> str:
        """The metric, or the task's first one for None.

        Raises:
            ValueError: If the task has no such metric.
        """
        if metric is None:
            return self.metrics[0]
        if metric not in self.metrics:
            raise ValueError(
                f'--metric {metric!r} is not one of {", ".join(self.metrics)}, which '
                f'{self.name} has'
            )
        return metric


def task_of(cfg: Mapping[str, Any]) -> Task:
    """The task of a whole config."""
    if cfg.get('default_scope') == 'mmpretrain':
        return Task('classification', ('top1', 'top5'), dict(type='ClassificationAccuracy'))
    return Task(
        'detection', ('AP50', 'AP'), dict(type='DetectionAP', eval_mode=_voc_eval_mode(cfg))
    )


def _voc_eval_mode(cfg: Mapping[str, Any]) -> str:
    """How the config's own ``VOCMetric`` integrates; the area where it has none."""
    evaluators = cfg.get('test_evaluator') or {}
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if type_name(evaluator) == 'VOCMetric':
            return evaluator.get('eval_mode', '11points')
    return 'area'
