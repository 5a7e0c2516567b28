"""``python -m adasap_det.demo``: train once, deploy any size, in some minutes on a CPU."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from adasap_det.demo.settings import (
    DENSE,
    FAST,
    FULL,
    IMAGE_SIZE,
    SHIPPED_DENSE,
    TWINS,
    Settings,
)
from adasap_det.demo.summary import Results, meaning, plot, summary_table, write_page
from adasap_det.demo.twin_progress import progress_file, read_progress

_POLL = 0.25  # seconds
_RESULTS, _COMPLETE = 'results.json', 'complete.json'
_ONE_THREAD = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m adasap_det.demo',
        description='Train a detector of drawn shapes on in two ways, with ordinary steps and in '
        "AdaSAP's elastic stage, prune both at once to several sizes and compare them on clean and "
        'corrupted images. Takes about six minutes on two processors; an interrupted run is '
        'resumed.',
    )
    parser.add_argument('--work-dir', type=Path, help='output folder (default: demo_out)')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of images and training (default: 0)'
    )
    parser.add_argument(
        '--from-scratch',
        action='store_true',
        help='train the dense detector too, in place of the one that comes with the package; takes '
        'about 40 minutes more',
    )
    parser.add_argument('--verbose', action='store_true', help='print the logs of the trainings')
    parser.add_argument(
        '--fast',
        action='store_true',
        help='a few iterations, to check that everything works (default folder: demo_out/fast)',
    )
    args = parser.parse_args(argv)
    work_dir = args.work_dir or Path('demo_out/fast' if args.fast else 'demo_out')
    try:
        run(
            work_dir,
            FAST if args.fast else FULL,
            seed=args.seed,
            from_scratch=args.from_scratch,
            verbose=args.verbose,
        )
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def run(
    work_dir: Path,
    settings: Settings,
    *,
    seed: int = 0,
    from_scratch: bool = False,
    verbose: bool = False,
) -> Results:
    """Run all steps; show the results of a run with the same options that is finished.

    Raises:
        ValueError: If the folder holds a run with other options, or a training fails.
    """
    console = Console(highlight=False)
    key = json.loads(json.dumps({**asdict(settings), 'seed': seed, 'from_scratch': from_scratch}))
    if _is_finished(work_dir, key):
        console.print(f'Done before, with these options; to repeat it, delete {work_dir}')
    else:
        began = time.perf_counter()
        data = _draw(work_dir, settings, console, seed=seed)
        dense = SHIPPED_DENSE
        options: dict[str, Any] = {'seed': seed, 'verbose': verbose, 'fast': settings == FAST}
        with _live(console) as live:
            if from_scratch:
                _run_side_by_side((DENSE,), work_dir, live, dense=None, **options)
                dense = work_dir / DENSE / f'iter_{settings.dense_iterations}.pth'
            _run_side_by_side(TWINS, work_dir, live, dense=dense, **options)
        console.print('Comparing')
        _compare(work_dir, settings, data, seed=seed, began=began)
        (work_dir / _COMPLETE).write_text(json.dumps(key), 'utf-8')
    results = Results.read(work_dir / _RESULTS)
    console.print(summary_table(results))
    for line in meaning(results):
        console.print(line, soft_wrap=True)
    console.print(f'\nReport, to open in a browser:  {work_dir / "report.html"}', soft_wrap=True)
    console.print('Your own images, docs/tutorial.md:  adasap-train my_config.py', soft_wrap=True)
    return results


def _is_finished(work_dir: Path, key: dict[str, Any]) -> bool:
    complete = work_dir / _COMPLETE
    if not complete.is_file():
        return False
    found = json.loads(complete.read_text('utf-8'))
    if found != key:
        other = ', '.join(
            f'{k}={found.get(k)} instead of {v}' for k, v in key.items() if found.get(k) != v
        )
        raise ValueError(
            f'{work_dir} holds a run with {other}; give another --work-dir or delete it'
        )
    return True


def _draw(work_dir: Path, settings: Settings, console: Console, *, seed: int) -> Path:
    """Draw the data set, and corrupt its test images; what is there is kept."""
    from adasap_det.datasets import make_shapes_voc
    from adasap_det.demo.evaluation import corrupt_images

    console.print(f'Drawing {settings.num_train} training and {settings.num_test} test images')
    data = make_shapes_voc(
        work_dir / 'data',
        num_train=settings.num_train,
        num_val=1,
        num_test=settings.num_test,
        image_size=IMAGE_SIZE,
        seed=seed,
    )
    console.print('Corrupting the test images')
    corrupt_images(_test_images(data), work_dir / 'corrupted.npz')
    return data


def _test_images(data: Path) -> list[Path]:
    stems = (data / 'ImageSets' / 'Main' / 'test.txt').read_text('utf-8').split()
    return [data / 'JPEGImages' / f'{stem}.jpg' for stem in stems]


def _live(console: Console) -> Progress:
    return Progress(
        TextColumn('{task.fields[name]:8}'),
        TextColumn('{task.description:24}'),
        BarColumn(),
        TextColumn('{task.percentage:3.0f} %'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
        console=console,
    )


def _run_side_by_side(
    names: Sequence[str],
    work_dir: Path,
    live: Progress,
    *,
    dense: Path | None,
    seed: int,
    verbose: bool,
    fast: bool,
) -> None:
    """Run trainings in processes of one thread each, and show how far they are."""
    command = [sys.executable, '-m', 'adasap_det.demo.twin', f'--work-dir={work_dir}']
    command += [f'--seed={seed}', *(['--fast'] if fast else [])]
    command += [] if dense is None else [f'--dense={dense}']
    with ExitStack() as stack:
        processes, tasks = {}, {}
        for name in names:
            progress_file(work_dir, name).unlink(missing_ok=True)
            log = stack.enter_context((work_dir / f'{name}.log').open('w', encoding='utf-8'))
            processes[name] = subprocess.Popen(
                [*command, name],
                env={**os.environ, **_ONE_THREAD},
                stdout=None if verbose else log,
                stderr=None if verbose else subprocess.STDOUT,
            )
            stack.callback(_stop, processes[name])
            tasks[name] = live.add_task('starting', name=name, total=None)
        running = True
        while running:
            time.sleep(_POLL)
            running = any(process.poll() is None for process in processes.values())
            for name, process in processes.items():
                if process.poll():
                    raise ValueError(_failure(name, work_dir / f'{name}.log', verbose=verbose))
                if found := read_progress(progress_file(work_dir, name)):
                    live.update(
                        tasks[name],
                        description=found.stage,
                        completed=found.done,
                        total=found.total,
                    )


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()


def _failure(name: str, log: Path, *, verbose: bool) -> str:
    if verbose:
        return f'the {name} training failed; its error is above'
    lines = log.read_text('utf-8', errors='replace').splitlines()
    return f'the {name} training failed: {lines[-1] if lines else "no output"}; see {log}'


def _compare(work_dir: Path, settings: Settings, data: Path, *, seed: int, began: float) -> None:
    """Compare what the trainings left: figures, intervals, latency, detections."""
    with (work_dir / 'comparison.log').open('w', encoding='utf-8') as log, ExitStack() as stack:
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        import torch

        from adasap_det.demo.twin_comparison import compare, draw_detections

        torch.set_num_threads(1)
        results = compare(work_dir, settings, seed=seed, began=began)
        images = _test_images(data)[: settings.pictures]
        pictures = draw_detections(work_dir, settings, images, seed=seed)
    figure = work_dir / 'sizes.svg'
    plot(results, figure)
    write_page(results, work_dir / 'report.html', figure=figure, pictures=pictures)
    results.write(work_dir / _RESULTS)


if __name__ == '__main__':
    sys.exit(main())
