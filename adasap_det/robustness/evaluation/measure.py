"""Evaluate a loaded model on one data set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmengine.runner import Runner, TestLoop

from adasap_det.robustness.evaluation.task import Task

_PREFIX = 'robustness'
Values = dict[str, float | None]


def build_loader(dataloader: Mapping[str, Any], dataset: Mapping[str, Any]) -> Any:
    """Build a loader with the config's options for another data set."""
    loader = copy.deepcopy(dict(dataloader))
    loader['dataset'] = dataset
    # Every cell gets a new loader; persistent workers would accumulate.
    loader['persistent_workers'] = False
    return Runner.build_dataloader(loader, seed=0)


def measure(runner: Runner, loader: Any, task: Task) -> tuple[Values, dict[str, Values]]:
    """Evaluate the runner's model on the loader's images.

    Returns:
        Values by metric, and values by metric and class: in [0, 1], None where undefined.
    """
    metric = METRICS.build({**task.evaluator, 'prefix': _PREFIX, '_scope_': 'mmengine'})
    loop = TestLoop(runner, loader, Evaluator([metric]))
    runner._test_loop = loop
    found = {
        name.removeprefix(f'{_PREFIX}/'): value
        for name, value in loop.run().items()
        if name.startswith(f'{_PREFIX}/')
    }
    return found, found.pop('per_class')
