"""Compute a model's metrics with a config's data and evaluator, outside MMEngine's loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch import nn

from adasap_det.utils.modules import eval_mode


def evaluate(model: Any, batches: Iterable[Any], evaluator: Evaluator, size: int) -> dict[str, Any]:
    """Return all metrics of a model, without calling hooks, such as those that save checkpoints.

    Args:
        model: Model with a ``val_step``.
        batches: Data loader.
        evaluator: Evaluator for the same data.
        size: Number of images.
    """
    with eval_mode(model), torch.no_grad():
        for batch in batches:
            evaluator.process(data_samples=model.val_step(batch), data_batch=batch)
        return evaluator.evaluate(size)


def validation_metrics(cfg: Config) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that measures all metrics of a model on the config's validation data.

    Args:
        cfg: Full config, with ``val_dataloader`` and ``val_evaluator``.

    Raises:
        ValueError: If the config has no validation data.
    """
    if not cfg.get('val_dataloader') or not cfg.get('val_evaluator'):
        raise ValueError('the config has no val_dataloader and val_evaluator to measure with')
    loader = Runner.build_dataloader({**cfg.val_dataloader, 'persistent_workers': False})
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    return lambda model: evaluate(model, loader, evaluator, len(loader.dataset))


def validation_metric(cfg: Config, name: str) -> Callable[[nn.Module], float]:
    """Return a function that measures one metric of a model on the config's validation data.

    Args:
        cfg: Full config, with ``val_dataloader`` and ``val_evaluator``.
        name: Name of the metric as MMEngine logs it, such as ``'pascal_voc/AP50'``.

    Raises:
        ValueError: If the config has no validation data. The returned function raises it, with
            the available names, if there is no such metric.
    """
    measure = validation_metrics(cfg)
    return lambda model: float(metric_of(measure(model), name))


def metric_of(metrics: Mapping[str, float], name: str) -> float:
    """One of a model's metrics.

    Raises:
        ValueError: If there is no such metric; names those that there are.
    """
    if name not in metrics:
        raise ValueError(f'there is no metric {name!r}; there are {", ".join(metrics)}')
    return metrics[name]
