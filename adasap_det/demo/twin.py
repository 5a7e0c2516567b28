"""One training of the demo, in a process of its own; of a twin also all sizes, evaluated."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from adasap_det.checkpoint.loading import load_model, load_pruned, save_pruned
from adasap_det.cli.common import add_structure_hook
from adasap_det.demo.evaluation import Scenes
from adasap_det.demo.runner import train
from adasap_det.demo.settings import (
    DENSE,
    IMAGE_SIZE,
    TWINS,
    Settings,
    load_config,
)
from adasap_det.demo.twin_progress import ProgressFile, progress_file
from adasap_det.pruning import ParamsBudget, Pruner, TaylorImportance, save_elastic
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.order import ORDER_KEY, RemovalOrder
from adasap_det.robustness.corruptions import BENCHMARK
from adasap_det.robustness.per_image import DetectionOutcomes
from adasap_det.robustness.results import CellKey
from adasap_det.utils.io import atomic_write
from adasap_det.utils.losses import batch_losses, some_batches
from adasap_det.utils.model_recalibration import recalibrate_model

PASSES = {'plain': 1, 'elastic': 2}
"""Forward and backward passes of an iteration."""

_SIZES_UNITS = 60.0
_CELL_UNITS = 4.0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m adasap_det.demo.twin')
    parser.add_argument('name', choices=(DENSE, *TWINS))
    parser.add_argument('--work-dir', type=Path, required=True)
    parser.add_argument('--dense', type=Path)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--settings', type=json.loads, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    _end_with_parent()
    ratios = tuple(args.settings.pop('keep_ratios'))
    settings = Settings(**args.settings, keep_ratios=ratios)
    if args.name == DENSE:
        train_dense(settings, work_dir=args.work_dir, seed=args.seed)
    else:
        run(args.name, settings, work_dir=args.work_dir, dense=args.dense, seed=args.seed)
    return 0


def _end_with_parent() -> None:
    """End when the parent has ended, which closes the standard input, however it ended."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def train_dense(settings: Settings, *, work_dir: Path, seed: int) -> None:
    """Train the dense detector from scratch."""
    cfg = load_config(DENSE, settings, work_dir=work_dir, seed=seed)
    progress = ProgressFile(progress_file(work_dir, DENSE), settings.dense_iterations)
    progress.begin('training from scratch')
    train(cfg, progress, units=1)


def run(name: str, settings: Settings, *, work_dir: Path, dense: Path, seed: int) -> None:
    """Train one twin, write all its sizes into one file, evaluate them.

    The plain twin is also pruned to the smallest size and trained for as many iterations again,
    which is what the second pass of the elastic stage costs.

    Args:
        name: ``plain`` or ``elastic``.
        settings: Size of the demo.
        work_dir: Folder of the demo, with the data.
        dense: Checkpoint of the dense detector.
        seed: Seed of the training.
    """
    configured = partial(load_config, settings=settings, work_dir=work_dir, seed=seed)
    cfg = configured(name, load_from=dense)
    folder = work_dir / name
    steps = settings.iterations * PASSES[name]
    fine_tune = name == 'plain'
    cells = (1 + len(BENCHMARK)) * (len(settings.sizes) + fine_tune)
    progress = ProgressFile(
        progress_file(work_dir, name),
        steps + fine_tune * settings.iterations + _SIZES_UNITS + _CELL_UNITS * cells,
    )
    progress.begin('training')
    trained = train(cfg, progress, units=PASSES[name])
    progress.begin('pruning to all sizes')
    if not sizes_file(work_dir, name).is_file():
        write_sizes(cfg, trained, sizes_file(work_dir, name), settings)
    progress.advance(_SIZES_UNITS)
    smallest = settings.keep_ratios[-1]
    if fine_tune:
        progress.begin(f'fine-tuning at {smallest:.0%}')
        pruned = folder / f'pruned_{smallest:g}.pth'
        if not pruned.is_file():  # the run that begins at it is resumed while its bytes stay
            save_pruned(pruned, load_size(cfg, work_dir, name, smallest), meta={})
        tuning = configured('plain', load_from=pruned, folder=f'{name}/fine_tuned')
        add_structure_hook(tuning)
        tuned = train(tuning, progress, units=1)
    scenes = Scenes(cfg, work_dir / 'corrupted.npz')
    for size in settings.sizes:
        progress.begin(f'evaluating at {size:.0%}')
        model = load_size(cfg, work_dir, name, size)
        _evaluate(model, scenes, outcomes_file(work_dir, name, size), progress)
    if fine_tune:
        progress.begin(f'evaluating at {smallest:.0%}, fine-tuned')
        model, _ = load_model(cfg, tuned)
        out = outcomes_file(work_dir, name, smallest, fine_tuned=True)
        _evaluate(model, scenes, out, progress)


def write_sizes(cfg: Config, checkpoint: Path, out: Path, settings: Settings) -> None:
    """Write one file with all sizes of a trained detector, batch norm re-estimated for each.

    Channels go in the order that the elastic stage left in the checkpoint, else by Taylor
    importance on some training batches.

    Args:
        cfg: Config of the dense detector.
        checkpoint: The trained detector.
        out: File to write.
        settings: Size of the demo.
    """
    model, meta = load_model(cfg, checkpoint)
    pruner = Pruner(
        model,
        example_image((IMAGE_SIZE, IMAGE_SIZE)),
        importance=TaylorImportance(),
        budget=ParamsBudget(keep_ratio=settings.keep_ratios[-1]),
    )
    if ORDER_KEY in meta:
        order = RemovalOrder.from_state_dict(meta[ORDER_KEY], pruner.groups)
    else:
        pruner.observe_losses(batch_losses(model, some_batches(cfg, settings.batches)))
        order = pruner.removal_order()
    save_elastic(
        out,
        pruner,
        order,
        recalibrate=partial(
            recalibrate_model, dataloader=cfg.train_dataloader, batches=settings.batches
        ),
        keep_ratios=settings.sizes,
        meta=meta,
    )


def load_size(cfg: Config, work_dir: Path, name: str, keep_ratio: float) -> nn.Module:
    """One size of a twin, from its file."""
    return load_pruned(cfg, sizes_file(work_dir, name), keep_ratio=keep_ratio)


def size_name(name: str, keep_ratio: float) -> str:
    """Name of one size of a twin."""
    return f'{name}, {keep_ratio:.0%}'


def sizes_file(work_dir: Path, name: str) -> Path:
    """File with all sizes of a twin."""
    return work_dir / name / 'sizes.pth'


def outcomes_file(
    work_dir: Path, name: str, keep_ratio: float, *, fine_tuned: bool = False
) -> Path:
    """File with what a network found in each image; it goes when the twin is trained anew."""
    suffix = '_fine_tuned' if fine_tuned else ''
    return work_dir / name / f'outcomes_{keep_ratio:g}{suffix}.pth'


def load_outcomes(path: Path) -> dict[CellKey, DetectionOutcomes]:
    """What a network found in each image, by cell."""
    found: dict = torch.load(path, weights_only=False)
    return found


def _evaluate(model: nn.Module, scenes: Scenes, out: Path, progress: ProgressFile) -> None:
    if out.is_file():
        progress.advance(_CELL_UNITS * scenes.cells)
        return
    found = {}
    for key, outcomes in scenes.outcomes(model):
        found[key] = outcomes
        progress.advance(_CELL_UNITS)
    with atomic_write(out) as temporary:
        torch.save(found, temporary)


if __name__ == '__main__':
    sys.exit(main())
