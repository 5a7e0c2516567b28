"""The work of ``adasap-measure-rise``: how far perturbations raise the loss of a network."""

from __future__ import annotations

import argparse
import copy
import math
import statistics
from typing import Any

import torch
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from adasap_det.checkpoint.loading import load_model
from adasap_det.cli.common import load_config, require_checkpoint
from adasap_det.cli.usage import UsageError
from adasap_det.datasets.missing_data import check_data
from adasap_det.hooks.channel_rows import channel_rows
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.optim.radii import RADIUS_RATIO
from adasap_det.optim.second_pass import frozen_buffers
from adasap_det.pruning import ParamsBudget, Pruner, TaylorImportance
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.utils.input_size import config_input_size
from adasap_det.utils.losses import some_batches

RADII = {
    ('asam', 'uniform'): (0.1, 0.5, 1.0, 2.0, 4.0),
    ('asam', 'adaptive'): (0.01, 0.02, 0.05, 0.1, 0.2),
    ('sam', 'uniform'): (0.01, 0.05, 0.1, 0.2, 0.5),
    ('sam', 'adaptive'): (0.001, 0.002, 0.005, 0.01, 0.02),
}
"""``rho`` and ``rho_max`` that are tried by default."""


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    for name in ('batches', 'seed'):
        least = 1 if name == 'batches' else 0
        if getattr(args, name) < least:
            raise UsageError(f'--{name} must be at least {least}, got {getattr(args, name)}')
    for radius in args.radii or ():
        if not 0 < radius < math.inf:
            raise UsageError(f'--radii must be positive, got {radius}')
    cfg = load_config(args)
    require_checkpoint(args.checkpoint)
    check_data(cfg, stages=('train',))
    try:
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        batches = some_batches(cfg, args.batches, seed=args.seed)
        model, _ = load_model(cfg, args.checkpoint)
        table = Table(title=f'{args.form}, {len(batches)} batches')
        for column in ('stage', 'radius', 'predicted rise', 'rise', 'loss'):
            table.add_column(column, justify='left' if column == 'stage' else 'right')
        pruner = Pruner(
            model,
            example_image(config_input_size(cfg, args.input_size)),
            importance=TaylorImportance(),
            budget=ParamsBudget(keep_ratio=0.5),
        )
        for stage in ('uniform', 'adaptive'):
            for radius in args.radii or RADII[args.form, stage]:
                found = rises(model, pruner, batches, stage, radius, args)
                table.add_row(stage, f'{radius:g}', *(f'{value:.4g}' for value in found))
    except ValueError as error:
        raise UsageError(error) from None
    Console().print(table)


def rises(
    model: Any,
    pruner: Pruner,
    batches: list[Any],
    stage: str,
    radius: float,
    args: argparse.Namespace,
) -> tuple[float, float, float]:
    """Mean predicted and measured rise of the loss, and the mean loss.

    Args:
        model: Not changed.
        pruner: Of ``model``; its importance sees the gradients.
        batches: Training batches.
        stage: ``'uniform'`` or ``'adaptive'``.
        radius: ``rho``, or ``rho_max`` with ``rho_min`` in the default relation to it.
        args: ``form`` and ``radius_map``.
    """
    size: dict[str, Any] = {'rho': radius} if stage == 'uniform' else {'rho_max': radius}
    if stage == 'adaptive':
        size |= {'rho_min': radius / RADIUS_RATIO, 'rho': 0.0}
    wrapper = AdaSAPOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
        form=args.form,
        radius_map=args.radius_map,
        **size,
    )
    wrapper.set_channels(channel_rows(model, pruner.groups))
    wrapper.gradient_observers.append(pruner.observe)
    found = []
    model.train()
    with frozen_buffers(model):
        for batch in batches:
            if not pruner.observed:
                wrapper.stage = 'plain'
                model.train_step(copy.deepcopy(batch), wrapper)
            wrapper.stage = stage
            if wrapper.by_channel:
                wrapper.set_scores(pruner.importance.scores(pruner.groups, model))
            losses = model.train_step(copy.deepcopy(batch), wrapper)
            rise = wrapper.message_hub.get_scalar('train/rise').current()
            predicted = float(wrapper.predicted_rise)
            found.append((predicted, float(rise), float(losses['loss'])))
    first_order, measured, loss = (statistics.mean(values) for values in zip(*found, strict=True))
    return first_order, measured, loss
