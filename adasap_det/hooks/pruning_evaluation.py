"""Metrics around the prune steps, and of smaller sizes, on the validation set."""

from __future__ import annotations

from collections.abc import Iterable

from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from adasap_det.utils.validation import evaluate

from .recalibration_hook import recalibrate_with


def log_evaluation(runner: Runner, when: str) -> None:
    """Log metrics of the model as it is, without the hooks that save best checkpoints."""
    loop = runner.val_loop
    if loop is None:
        print_log(f'No validation set to evaluate {when}', logger='current')
        return
    metrics = evaluate(runner.model, loop.dataloader, loop.evaluator, len(loop.dataloader.dataset))
    listed = ', '.join(f'{name} {value}' for name, value in metrics.items())
    print_log(f'Evaluation {when}: {listed}', logger='current')
    key = when.replace(' ', '_')
    runner.visualizer.add_scalars(
        {f'{key}/{name}': value for name, value in metrics.items()}, step=runner.iter
    )


def add_size_metrics(
    runner: Runner,
    models: Iterable[tuple[float, nn.Module]],
    metrics: dict[str, float],
    *,
    batches: int,
) -> None:
    """Add the metrics of smaller models to those of a validation, and to the log.

    Args:
        runner: Of the run.
        models: Ratio of the dense model's cost and model, one after another.
        metrics: Of the whole model; each is added under its name with ``_at_<ratio>``.
        batches: Training batches that batch norm's statistics are re-estimated on.
    """
    loop = runner.val_loop
    for ratio, model in models:
        if batches:
            recalibrate_with(runner, model, batches)
        found = evaluate(model, loop.dataloader, loop.evaluator, len(loop.dataloader.dataset))
        for name, value in found.items():
            metrics[f'{name}_at_{ratio}'] = value
            runner.message_hub.update_scalar(f'val/{name}_at_{ratio}', value)
