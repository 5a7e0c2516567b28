"""Runs one data set through a loaded model."""

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
    """A loader of another data set, otherwise as the config's."""
    loader = copy.deepcopy(dict(dataloader))
    loader['dataset'] = dataset
    # Each has a loader of its own, so workers that outlive it would pile up.
    loader['persistent_workers'] = False
    return Runner.build_dataloader(loader, seed=0)


def measure(runner: Runner, loader: Any, task: Task) -> tuple[Values, dict[str, Values]]:
    """Metrics of the runner's model on the loader's images, by name, and by name and class.

    Returns:
        Fractions in [0, 1]; None where undefined.
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
