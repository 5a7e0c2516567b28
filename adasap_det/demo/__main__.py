"""``python -m adasap_det.demo``: generate data, train, prune, evaluate, compare."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console

from adasap_det.datasets import make_shapes_voc
from adasap_det.demo import corrupted as robustness
from adasap_det.demo.runner import evaluate, train
from adasap_det.demo.settings import FAST, FULL, IMAGE_SIZE, Settings, load_config
from adasap_det.demo.summary import ModelResult, as_data, summary_table
from adasap_det.robustness.report import write_report
from adasap_det.robustness.results import load_results
from adasap_det.utils.timing import measure_latency

#: Name of each model, its config in ``configs/demo`` and its title; the dense one first.
MODELS = (
    ('dense', 'dense', 'Train the dense detector from scratch'),
    ('plainly pruned', 'pruned', 'Prune it with ordinary training steps'),
    (
        'AdaSAP',
        'adasap',
        'Prune it with AdaSAP: adaptive perturbation, pruning, uniform perturbation',
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m adasap_det.demo',
        description='Train a detector on generated images of shapes, prune it to half of its '
        'parameters with and without AdaSAP, and compare all three models on clean and on '
        'corrupted images, on a CPU. An interrupted run is resumed.',
    )
    parser.add_argument('--work-dir', type=Path, help='output folder (default: demo_out)')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of images and training (default: 0)'
    )
    parser.add_argument(
        '--fast',
        action='store_true',
        help='a few iterations, to check that everything works (default folder: demo_out/fast)',
    )
    args = parser.parse_args(argv)
    work_dir = args.work_dir or Path('demo_out/fast' if args.fast else 'demo_out')
    try:
        run(work_dir, FAST if args.fast else FULL, seed=args.seed)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def run(work_dir: Path, settings: Settings, *, seed: int) -> dict[str, object]:
    """Run all steps; return the results, which are also written to ``work_dir/results.json``."""
    # mmdet warns at import about a metric that is not used here.
    warnings.filterwarnings('ignore', message='faster_coco_eval')
    console = Console(highlight=False)
    began = time.perf_counter()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    def step(number: int, title: str) -> None:
        console.rule(f'{number}/7 {title} ({time.perf_counter() - began:.0f} s)', align='left')

    step(1, 'Generate the shapes data set')
    data = _draw(work_dir, settings, seed=seed)
    say(f'{data}: {settings.num_train} training images, {settings.num_test} test images')

    checkpoints: dict[str, Path] = {}
    for number, (name, config, title) in enumerate(MODELS, 2):
        step(number, title)
        cfg = load_config(config, settings, work_dir=work_dir, seed=seed)
        if checkpoints:
            cfg.load_from = str(checkpoints['dense'])
        checkpoints[name] = train(cfg, say=say)

    step(5, 'Load the checkpoints; evaluate them, measure size and latency, draw detections')
    dense_cfg = load_config('dense', settings, work_dir=work_dir, seed=seed)
    ap50 = {name: evaluate(dense_cfg, path, name=name) for name, path in checkpoints.items()}
    counted, images = _inspect(dense_cfg, checkpoints, data, work_dir, settings)

    step(6, 'Evaluate the models on corrupted test images')
    benchmark, results_dir = work_dir / 'corrupted', work_dir / 'robustness'
    robustness.build(data, benchmark, settings, say=say)
    results = {}
    for name, path in checkpoints.items():
        say(f'{name}:')
        found = robustness.sweep(
            dense_cfg,
            path,
            name=name,
            out=results_dir / name,
            benchmark=benchmark,
            settings=settings,
            latency_ms=counted[name]['latency_ms'],
            say=say,
        )
        results[name] = ModelResult(
            ap50=ap50[name],
            p=found.p or 0.0,
            mpc=found.mpc or 0.0,
            rpc=found.rpc,
            checkpoint=str(path),
            **counted[name],
        )

    step(7, 'Report')
    page = write_report([load_results(results_dir / name) for name in checkpoints], work_dir)
    threads = torch.get_num_threads()
    data_of_all = as_data(
        results,
        images=[str(path) for path in images],
        report=str(page),
        threads=threads,
        seconds=time.perf_counter() - began,
    )
    (work_dir / 'results.json').write_text(json.dumps(data_of_all, indent=2) + '\n')

    console.print()
    mean = robustness.mean_name(settings)
    console.print(summary_table(results, threads=threads, corrupted=mean))
    say(f'Report, open in a browser:     {page}')
    say(f'Detections side by side:       {work_dir / "images"}')
    for name, path in checkpoints.items():
        say(f'{f"Checkpoint, {name}:":30s} {path}')
    say(f'Results as JSON:               {work_dir / "results.json"}')
    say(f'Time:                          {time.perf_counter() - began:.0f} s')
    say('\nNext commands to try:')
    for command in _next_commands(work_dir, checkpoints['AdaSAP']):
        say(f'  {command}')
    return data_of_all


def _draw(work_dir: Path, settings: Settings, *, seed: int) -> Path:
    progress = logging.getLogger('adasap_det.datasets.shapes')
    handler = logging.StreamHandler(sys.stdout)
    progress.addHandler(handler)
    progress.setLevel(logging.INFO)
    try:
        return make_shapes_voc(
            work_dir / 'data',
            num_train=settings.num_train,
            num_val=settings.num_val,
            num_test=settings.num_test,
            image_size=IMAGE_SIZE,
            seed=seed,
        )
    finally:
        progress.removeHandler(handler)


def _inspect(
    cfg: Config,
    checkpoints: dict[str, Path],
    data: Path,
    work_dir: Path,
    settings: Settings,
) -> tuple[dict[str, dict[str, Any]], list[Path]]:
    from mmdet.apis import init_detector

    from adasap_det.demo.side_by_side import save_side_by_side
    from adasap_det.pruning import count_macs, count_params

    models = {
        name: init_detector(cfg.copy(), str(path), device='cpu')
        for name, path in checkpoints.items()
    }
    stems = (data / 'ImageSets' / 'Main' / 'test.txt').read_text().split()[: settings.images]
    images = save_side_by_side(
        models, [data / 'JPEGImages' / f'{stem}.jpg' for stem in stems], work_dir / 'images'
    )
    size = (IMAGE_SIZE, IMAGE_SIZE)
    latency = measure_latency(models, input_size=size, rounds=settings.timing_rounds)
    counted = {
        name: dict(
            params=count_params(model),
            macs=int(count_macs(model, input_size=size)),
            latency_ms=latency[name],
        )
        for name, model in models.items()
    }
    return counted, images


def _next_commands(work_dir: Path, pruned: Path) -> list[str]:
    """Commands that evaluate the pruned checkpoint and prune further."""
    here = Path.cwd()
    python = Path(sys.executable)
    name = os.path.relpath(python, here) if python.is_relative_to(here) else 'python'
    checkout = (here / 'tools' / 'test.py').is_file()
    test, training = (
        [name, f'tools/{tool}.py'] if checkout else [name, '-m', f'adasap_det.cli.{tool}']
        for tool in ('test', 'train')
    )
    config = str(work_dir / 'adasap' / 'shapes_adasap.py')
    further = ['--cfg-options', 'default_hooks.pruning.budget.keep_ratio=0.3']
    return [
        shlex.join([*test, config, str(pruned)]),
        shlex.join([*training, config, '--work-dir', str(work_dir / 'keep30'), *further]),
    ]


if __name__ == '__main__':
    sys.exit(main())
