"""``python -m adasap_det.demo``: train once, deploy any size, in some minutes on a CPU."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
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
from adasap_det.utils.io import atomic_write

_POLL = 0.25  # seconds
_RESULTS, _OPTIONS = 'results.json', 'options.json'
_ONE_THREAD = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m adasap_det.demo',
        description='Continue the training of a detector of drawn shapes in two ways, with '
        "ordinary steps and in AdaSAP's elastic stage, prune both at once to several sizes and "
        'compare them on clean and corrupted images. Takes about six minutes on two processors; '
        'an interrupted run is resumed.',
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
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted; the same command resumes it', file=sys.stderr)
        return 130
    return 0


def run(
    work_dir: Path,
    settings: Settings,
    *,
    seed: int = 0,
    from_scratch: bool = False,
    verbose: bool = False,
) -> Results:
    """Run all steps, or show the results of a finished run.

    Args:
        work_dir: Output folder.
        settings: Size of the demo.
        seed: Of images and training.
        from_scratch: Whether to train the dense detector too.
        verbose: Whether to print the logs of the trainings.

    Raises:
        ValueError: If the folder holds a run with other options or is in use, or a training fails.
    """
    console = Console(highlight=False)
    work_dir.mkdir(parents=True, exist_ok=True)
    with _locked(work_dir):
        _check_options(work_dir, settings, seed=seed, from_scratch=from_scratch)
        if (work_dir / _RESULTS).is_file():
            console.print(f'Done before, with these options; to repeat it, delete {work_dir}')
        else:
            data = _draw(work_dir, settings, console, seed=seed)
            trainings = partial(
                _run_side_by_side,
                work_dir=work_dir,
                settings=settings,
                seed=seed,
                verbose=verbose,
                console=console,
            )
            dense = SHIPPED_DENSE
            if from_scratch:
                trainings((DENSE,), dense=None)
                dense = work_dir / DENSE / f'iter_{settings.dense_iterations}.pth'
            trainings(TWINS, dense=dense)
            console.print('Comparing')
            _compare(work_dir, settings, data, seed=seed)
    results = Results.read(work_dir / _RESULTS)
    console.print(summary_table(results))
    for line in meaning(results):
        console.print(line, soft_wrap=True)
    console.print(f'\nReport, to open in a browser:  {work_dir / "report.html"}', soft_wrap=True)
    console.print('Your own images, docs/tutorial.md:  adasap-train my_config.py', soft_wrap=True)
    return results


@contextmanager
def _locked(work_dir: Path) -> Iterator[None]:
    lock = FileLock(work_dir / '.lock', timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f'another demo runs in {work_dir}; give another --work-dir') from None
    try:
        yield
    finally:
        lock.release()


def _check_options(work_dir: Path, settings: Settings, *, seed: int, from_scratch: bool) -> None:
    """Check that an earlier run in the folder had these options, and note them."""
    wanted = {**asdict(settings), 'seed': seed, 'from_scratch': from_scratch}
    wanted['dense'] = hashlib.sha256(SHIPPED_DENSE.read_bytes()).hexdigest()
    wanted = json.loads(json.dumps(wanted))
    path = work_dir / _OPTIONS
    if not path.is_file():
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1), 'utf-8')
        return
    found = json.loads(path.read_text('utf-8'))
    other = [
        f'{name}={found.get(name)} instead of {wanted.get(name)}'
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if other:
        raise ValueError(
            f'{work_dir} holds a run with {", ".join(other)}; give another --work-dir, or delete it'
        )


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


def _live(console: Console, *, shown: bool) -> Progress:
    return Progress(
        TextColumn('{task.fields[name]:8}'),
        TextColumn('{task.description:24}'),
        BarColumn(),
        TextColumn('{task.percentage:3.0f} %'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
        console=console,
        disable=not shown,
    )


def _run_side_by_side(
    names: Sequence[str],
    *,
    dense: Path | None,
    work_dir: Path,
    settings: Settings,
    seed: int,
    verbose: bool,
    console: Console,
) -> None:
    """Run trainings in processes of one thread each, and show how far they are.

    A process that is left alone, because this one was killed, ends by itself.
    """
    command = [sys.executable, '-m', 'adasap_det.demo.twin', f'--work-dir={work_dir}']
    command += [f'--settings={json.dumps(asdict(settings))}', f'--seed={seed}']
    command += [] if dense is None else [f'--dense={dense}']
    shown = console.is_terminal and not verbose
    with ExitStack() as stack:
        live = stack.enter_context(_live(console, shown=shown))
        processes, tasks = {}, {}
        for name in names:
            progress_file(work_dir, name).unlink(missing_ok=True)
            output: Any = None
            if not verbose:
                output = stack.enter_context(_log(work_dir, name).open('w', encoding='utf-8'))
            processes[name] = subprocess.Popen(
                [*command, name],
                env={**os.environ, **_ONE_THREAD},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output and subprocess.STDOUT,
            )
            stack.callback(_stop, processes[name])
            tasks[name] = live.add_task('starting', name=name, total=None)
        running, stages = True, dict.fromkeys(names, '')
        while running:
            time.sleep(_POLL)
            running = any(process.poll() is None for process in processes.values())
            for name, process in processes.items():
                if process.poll():
                    raise ValueError(_failure(name, process.returncode, work_dir, verbose=verbose))
                found = read_progress(progress_file(work_dir, name))
                if found is None:
                    continue
                live.update(
                    tasks[name], description=found.stage, completed=found.done, total=found.total
                )
                if not shown and found.stage != stages[name]:
                    console.print(f'{name}: {found.stage}', soft_wrap=True)
                stages[name] = found.stage


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()


def _log(work_dir: Path, name: str) -> Path:
    return work_dir / f'{name}.log'


def _failure(name: str, status: int, work_dir: Path, *, verbose: bool) -> str:
    ended = f'the {name} training ended with status {status}'
    if verbose:
        return f'{ended}; its output is above'
    log = _log(work_dir, name)
    lines = log.read_text('utf-8', errors='replace').splitlines()
    return f'{ended}; the last line of {log}: {lines[-1] if lines else "none"}'


def _compare(work_dir: Path, settings: Settings, data: Path, *, seed: int) -> None:
    """Compare what the trainings left: figures, intervals, latency, detections."""
    with (work_dir / 'comparison.log').open('w', encoding='utf-8') as log, ExitStack() as stack:
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        import torch

        from adasap_det.demo.twin_comparison import compare, draw_detections

        torch.set_num_threads(1)
        results = compare(work_dir, settings, seed=seed)
        images = _test_images(data)[: settings.drawn_images]
        drawn = draw_detections(work_dir, settings, images, seed=seed)
    figure = work_dir / 'sizes.svg'
    plot(results, figure)
    write_page(results, work_dir / 'report.html', figure=figure, images=drawn)
    results.write(work_dir / _RESULTS)


if __name__ == '__main__':
    sys.exit(main())
