"""Rise of the loss at the perturbed weights, by stage and radius, to help choose radii.

Nothing is trained. A per-channel radius r moves a network of C channels about as far as a uniform
radius of r * sqrt(C), which the last column shows.

    python benchmarks/sharpness_by_radius.py CONFIG CHECKPOINT --batches 3
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner, load_checkpoint
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from adasap_det.checkpoint.loading import build_model
from adasap_det.hooks.channel_rows import channel_rows
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import MagnitudeImportance, find_channel_groups
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.utils.input_size import pipeline_input_size

UNIFORM = (0.1, 0.5, 1.0, 2.0)
ADAPTIVE = (0.01, 0.02, 0.05, 0.1, 0.5)


def sharpness(
    model: nn.Module,
    batches: list[dict],
    groups: list[ChannelGroup],
    scores: Tensor,
    *,
    stage: str,
    form: str,
    radius: float,
) -> float:
    """Mean of ``L(w + eps) - L(w)`` over the batches."""
    wrapper = AdaSAPOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
        form=form,
        rho_min=0.0,
        rho_max=radius,
        rho=radius,
        ungrouped='none',
    )
    wrapper.stage = stage
    wrapper.set_channels(channel_rows(model, groups))
    wrapper.set_scores(scores)
    rises = []
    for batch in batches:
        model.train_step(copy.deepcopy(batch), wrapper)
        hub = MessageHub.get_current_instance()
        rises.append(float(hub.get_scalar('train/rise').current()))
    return statistics.mean(rises)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--batches', type=int, default=3)
    parser.add_argument('--form', choices=['asam', 'sam'], default='asam')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    cfg = Config.fromfile(args.config)
    model = build_model(cfg)
    load_checkpoint(model, args.checkpoint, map_location='cpu')
    model.train()
    cfg.train_dataloader.num_workers = 0
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    batches = [batch for _, batch in zip(range(args.batches), loader, strict=False)]
    groups = find_channel_groups(model, example_image(pipeline_input_size(cfg))).groups
    scores = torch.cat(MagnitudeImportance().scores(groups, model))

    table = Table(title=f'{args.form}, {scores.numel()} channels, {args.batches} batches')
    for column in ('stage', 'radius', 'L(w + eps) - L(w)', 'uniform equivalent'):
        table.add_column(column, justify='left' if column == 'stage' else 'right')
    for stage, radii in (('uniform', UNIFORM), ('adaptive', ADAPTIVE)):
        for radius in radii:
            rise = sharpness(
                model, batches, groups, scores, stage=stage, form=args.form, radius=radius
            )
            reach = radius * math.sqrt(scores.numel()) if stage == 'adaptive' else radius
            table.add_row(stage, f'{radius:g}', f'{rise:.3f}', f'{reach:.2f}')
    Console().print(table)


if __name__ == '__main__':
    main()
