"""A study: prune one dense network in several ways (arms), evaluate under corruption, compare.

Every run has a folder under the study's. Finished runs and evaluations are kept, an interrupted
training resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import records
from mmengine.config import Config
from records import RESULTS, Metric, Run
from rich.console import Console
from tables import tables

from adasap_det.robustness.evaluation.cell_data import Built
from adasap_det.robustness.results import load_results

ROOT = Path(__file__).resolve().parents[1]
#: Config key of the pruning hook.
HOOK = 'default_hooks.pruning'
#: Arms that AdaSAP is compared with: equal epochs, and equal forward and backward passes.
BASELINES = ('plain', 'plain, 2x epochs')


@dataclass(frozen=True)
class Arm:
    """One way to prune.

    Attributes:
        variant: Suffix of the config, 'pruned' or 'adasap'.
        epochs_factor: Multiple of the config's epochs to train for.
        options: Config overrides.
    """

    variant: str
    epochs_factor: int = 1
    options: tuple[str, ...] = ()


def stages(before: str, after: str, *wrapper: str) -> Arm:
    """AdaSAP with other perturbations before and after pruning.

    Args:
        before: ``perturbation_before_pruning`` of the hook.
        after: ``perturbation_after_pruning`` of the hook.
        wrapper: Overrides of the optimizer wrapper.
    """
    hook = (
        f'{HOOK}.perturbation_before_pruning={before}',
        f'{HOOK}.perturbation_after_pruning={after}',
    )
    return Arm('adasap', options=hook + tuple(f'optim_wrapper.{option}' for option in wrapper))


@dataclass(frozen=True)
class Benchmark:
    """Corrupted benchmark of a study.

    Attributes:
        name: Folder, under the study's unless ``--benchmark`` is given.
        build: Arguments of ``tools/make_voc_c.py``.
        test_options: Config overrides of every evaluation.
    """

    name: str
    build: tuple[str, ...]
    test_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """Settings of a study.

    Attributes:
        description: One line for ``--help``.
        title: Title of the table of results.
        out: Default folder of the runs.
        networks: Networks by default.
        keep_ratios: Fractions of the parameters to keep by default.
        arms: All arms by name.
        main_arms: Names of those that run by default.
        metric: Metric to compare.
        benchmark: Returns the benchmark for the parsed command line.
        add_arguments: Adds the study's own command-line options.
        shipped: Paths of configs outside benchmarks/configs, by network and variant.
    """

    description: str
    title: str
    out: str
    networks: Sequence[str]
    keep_ratios: Sequence[float]
    arms: Mapping[str, Arm]
    main_arms: Sequence[str]
    metric: Metric
    benchmark: Callable[[argparse.Namespace], Benchmark]
    add_arguments: Callable[[argparse.ArgumentParser], object]
    shipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run what is missing, then print the tables of everything found."""
        args = self._parser().parse_args(argv)
        runs = [
            Run(network, keep_ratio, arm, seed)
            for seed in args.seeds
            for keep_ratio in args.keep_ratios
            for network in args.networks
            for arm in args.arms
        ]
        if not args.table_only:
            self._run(runs, args)
        found = [
            record
            for network in args.networks
            for record in records.collect(
                network, runs, args.out, self.metric,
                dense_seed=args.dense_seed, results=args.results,
            )
        ]  # fmt: skip
        if args.record:
            found = records.merge(args.record, found)
        console = Console(width=200)
        for table in tables(found, tuple(self.arms), title=self.title, baselines=BASELINES):
            console.print(table)
        return 0

    def config(self, network: str, variant: str) -> str:
        """Return the config of a network, its 'dense', 'pruned' or 'adasap' variant.

        Raises:
            SystemExit: If there is none.
        """
        if network in self.shipped:
            return self.shipped[network][variant]
        path = f'benchmarks/configs/{network}_{variant}.py'
        if not (ROOT / path).is_file():
            known = {p.stem.removesuffix('_dense') for p in (ROOT / path).parent.glob('*_dense.py')}
            names = ', '.join(sorted(known | set(self.shipped)))
            raise SystemExit(f'no {network}_{variant}.py in benchmarks/configs; there are {names}')
        return path

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(description=self.description)
        add = parser.add_argument
        add('--out', type=Path, default=self.out, help='folder of the runs')
        add('--networks', nargs='+', default=list(self.networks), help='prefixes of the configs')
        add(
            '--keep-ratios', nargs='+', type=float, default=list(self.keep_ratios),
            help='fractions of the parameters to keep',
        )  # fmt: skip
        add('--seeds', nargs='+', type=int, default=[0, 1, 2])
        add('--arms', nargs='+', default=list(self.main_arms), choices=self.arms)
        add('--dense-seed', type=int, default=0, help='seed of the dense network; one per --out')
        add('--benchmark', type=Path, help='built benchmark (default: built under --out)')
        add('--results', default=RESULTS, help='evaluation folder beside each checkpoint')
        add('--jobs', type=int, default=1, help='parallel runs, one thread each')
        add('--options', nargs='*', default=[], help='additional --cfg-options of all runs')
        add('--record', type=Path, help='JSON file that results are added to and shown from')
        add('--table-only', action='store_true', help='train nothing, only print the tables')
        self.add_arguments(parser)
        return parser

    def _run(self, runs: Sequence[Run], args: argparse.Namespace) -> None:
        """Build the benchmark, then train and evaluate the dense networks and all runs."""
        benchmark = self.benchmark(args)
        folder = args.benchmark or args.out / benchmark.name
        if not (folder / 'manifest.json').is_file():
            call(
                'make_voc_c', *benchmark.build, '--out', str(folder), '--quiet',
                log=args.out / 'build.log',
            )  # fmt: skip

        def run_one(
            network: str,
            variant: str,
            work_dir: Path,
            options: Sequence[str],
            epochs_factor: int = 1,
        ) -> Path:
            config = self.config(network, variant)
            options = (*options, *args.options)
            checkpoint = train(
                config, args.out / work_dir, options=options, epochs_factor=epochs_factor
            )
            evaluate(
                self.config(network, 'dense'), checkpoint, folder,
                results=args.results, options=benchmark.test_options,
            )  # fmt: skip
            return checkpoint

        def train_dense(network: str) -> tuple[str, Path]:
            options = [f'randomness.seed={args.dense_seed}']
            return network, run_one(network, 'dense', Path(network, 'dense'), options)

        dense = dict(in_parallel(train_dense, args.networks, jobs=args.jobs))

        def prune(run: Run) -> None:
            arm = self.arms[run.arm]
            options = (
                f'load_from={dense[run.network]}',
                f'randomness.seed={run.seed}',
                f'{HOOK}.budget.keep_ratio={run.keep_ratio}',
                *arm.options,
            )
            run_one(run.network, arm.variant, Path(run.folder), options, arm.epochs_factor)

        in_parallel(prune, runs, jobs=args.jobs)


def call(tool: str, *arguments: str, log: Path) -> None:
    """Run one of ``tools/`` with one thread.

    Raises:
        SystemExit: If it fails; names the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with open(log, 'ab') as file:
        code = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *arguments],
            stdout=file, stderr=subprocess.STDOUT, env=environment, check=False,
        ).returncode  # fmt: skip
    if code:
        raise SystemExit(f'{tool} failed, exit status {code}; see {log}')


def train(
    config: str, folder: Path, *, epochs_factor: int = 1, options: Sequence[str] = ()
) -> Path:
    """Train for ``epochs_factor`` times the config's epochs and return the last checkpoint."""
    epochs = Config.fromfile(ROOT / config).max_epochs * epochs_factor
    final = folder / f'epoch_{epochs}.pth'
    if final.is_file():
        return final
    longer = (
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.1.end={epochs}',
        f'param_scheduler.1.T_max={epochs}',
    )
    call(
        'train', str(ROOT / config), '--work-dir', str(folder), '--resume', '--cfg-options',
        # A checkpoint every epoch, so that an interrupted run can resume.
        *options, *(longer if epochs_factor != 1 else ()), 'default_hooks.checkpoint.interval=1',
        log=folder.with_suffix('.log'),
    )  # fmt: skip
    return final


def evaluate(
    config: str,
    checkpoint: Path,
    benchmark: Path,
    *,
    results: str = RESULTS,
    options: Sequence[str] = (),
) -> None:
    """Evaluate on clean and corrupted images, into the folder ``results`` beside the checkpoint.

    Raises:
        SystemExit: If that folder holds the evaluation on another benchmark.
    """
    folder = checkpoint.parent / results
    if (folder / 'model.json').is_file():
        _check_benchmark(folder, Built(benchmark).title)
        return
    call(
        'test_robustness', str(ROOT / config), str(checkpoint), '--benchmark', str(benchmark),
        '--out', str(folder), '--images', '0',
        *(('--cfg-options', *options) if options else ()),
        log=checkpoint.parent / f'{results}.log',
    )  # fmt: skip


def _check_benchmark(folder: Path, title: str) -> None:
    for cell in load_results(folder).cells.values():
        if cell.corruption and cell.source != title:
            raise SystemExit(
                f'{folder} holds the evaluation on {cell.source}, not on {title}; '
                f'choose another folder (--results) or move this one away'
            )


def in_parallel(work: Callable[[Any], Any], items: Iterable[Any], *, jobs: int) -> list[Any]:
    """Return the results of all items, ``jobs`` at a time; raise the first failure at the end."""
    with ThreadPoolExecutor(jobs) as pool:
        return [future.result() for future in [pool.submit(work, item) for item in items]]
