"""Evaluate a loaded model on one data set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmengine.runner import Runner, TestLoop

from adasap_det.robustness.evaluation.task import Task
from adasap_det.robustness.per_image import Outcomes

_PREFIX = 'robustness'
Values = dict[str, float | None]


def build_loader(dataloader: Mapping[str, Any], dataset: Mapping[str, Any]) -> Any:
    """Build a loader with the config's options for another data set."""
    loader = copy.deepcopy(dict(dataloader))
    loader['dataset'] = dataset
    # Every cell gets a new loader; persistent workers would accumulate.
    loader['persistent_workers'] = False
    return Runner.build_dataloader(loader, seed=0)


class Measured(NamedTuple):
    """Metrics of a model on a data set.

    Attributes:
        metrics: Values by metric, in [0, 1]; None where undefined.
        per_class: The same by metric and class.
        per_image: What each image contributes to the first metric, on the main process; None
            unless asked for.
    """

    metrics: Values
    per_class: dict[str, Values]
    per_image: Outcomes | None


def measure(runner: Runner, loader: Any, task: Task, *, per_image: bool = False) -> Measured:
    """Evaluate the runner's model on the loader's images."""
    options = {'prefix': _PREFIX, 'per_image': per_image, '_scope_': 'mmengine'}
    metric = METRICS.build({**task.evaluator, **options})
    loop = TestLoop(runner, loader, Evaluator([metric]))
    runner._test_loop = loop
    found = {
        name.removeprefix(f'{_PREFIX}/'): value
        for name, value in loop.run().items()
        if name.startswith(f'{_PREFIX}/')
    }
    return Measured(found, found.pop('per_class'), metric.outcomes)
