"""AdaSAP against plain pruning on CIFAR-10: equal epochs and equal passes, several seeds.

Every run starts from one dense network. 'plain' and 'AdaSAP' train for the same epochs; 'plain, two
times' for twice as many, which is as many passes through the network as AdaSAP makes. Stopped and
started again, it goes on where it was. Prints the table of benchmarks/README.md.

    CIFAR10_ROOT=/data/cifar10/ python benchmarks/cifar10.py --out work_dirs/cifar10_study --jobs 2
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import study
from rich.console import Console
from rich.table import Table

ARMS = {
    'plain': ('pruned', 1),
    'plain, two times': ('pruned', 2),
    'AdaSAP': ('adasap', 1),
    # Until the training loss has nowhere to go.
    'plain, four times': ('pruned', 4),
    'plain, eight times': ('pruned', 8),
    'AdaSAP, four times': ('adasap', 4),
}
MAIN = ('plain', 'plain, two times', 'AdaSAP')


@dataclass(frozen=True)
class Run:
    """One pruned network."""

    network: str
    keep: float
    arm: str
    seed: int

    @property
    def folder(self) -> str:
        arm = re.sub(r'\W+', '_', self.arm)
        return f'{self.network}/keep{round(100 * self.keep)}/{arm}/seed{self.seed}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, then print the table."""
    args = _parser().parse_args(argv)
    out = Path(args.out)
    benchmark = out / f'cifar10-c-{args.subset}'
    build(benchmark, args.subset)
    runs = [
        Run(args.network, keep, arm, seed)
        for seed in args.seeds
        for keep in args.keeps
        for arm in args.arms
    ]
    dense = train_dense(args.network, out, args.options)
    evaluate(args.network, dense, benchmark)
    study.in_parallel(
        lambda run: one(run, dense, out, benchmark, args.options), runs, jobs=args.jobs
    )
    Console(width=120).print(table(runs, dense, out))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', default='work_dirs/cifar10_study')
    parser.add_argument('--network', default='resnet18_w8_cifar10', help='prefix of the configs')
    parser.add_argument('--keeps', nargs='+', type=float, default=[0.5, 0.3])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', default=MAIN, choices=ARMS)
    parser.add_argument('--subset', type=int, default=1000, help='test pictures to corrupt')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, one thread each')
    parser.add_argument('--options', nargs='*', default=[], help='more --cfg-options of all runs')
    return parser


def build(benchmark: Path, subset: int) -> None:
    """CIFAR-10-C of a part of the test pictures."""
    if (benchmark / 'manifest.json').is_file():
        return
    source = os.path.join(os.environ.get('CIFAR10_ROOT', 'data/cifar10'), 'test')
    study.call(
        'make_voc_c', '--layout', 'folder', '--source', source, '--out', str(benchmark),
        '--subset', str(subset), '--format', 'png', '--quiet', log=benchmark.parent / 'build.log',
    )  # fmt: skip


def train_dense(network: str, out: Path, options: Sequence[str]) -> Path:
    """The dense network that all start from."""
    config = f'configs/cifar10/{network}_dense.py'
    return study.train(config, out / network / 'dense', options=options)


def one(run: Run, dense: Path, out: Path, benchmark: Path, options: Sequence[str]) -> None:
    """Train and evaluate one pruned network."""
    twin, times = ARMS[run.arm]
    own = (
        f'load_from={dense}',
        f'randomness.seed={run.seed}',
        f'custom_hooks.1.budget.keep={run.keep}',
        *options,
    )
    config = f'configs/cifar10/{run.network}_{twin}.py'
    checkpoint = study.train(config, out / run.folder, times=times, options=own)
    evaluate(run.network, checkpoint, benchmark)


def evaluate(network: str, checkpoint: Path, benchmark: Path) -> None:
    """Clean and corrupted accuracy on the benchmark's pictures."""
    subset = benchmark / 'clean'
    _link_clean(benchmark, subset)
    study.evaluate(
        f'configs/cifar10/{network}_dense.py', checkpoint, benchmark,
        options=[f'test_dataloader.dataset.data_root={subset}'],
    )  # fmt: skip


def _link_clean(benchmark: Path, folder: Path) -> None:
    """The clean pictures of the benchmark's subset, as links."""
    source = Path(os.environ.get('CIFAR10_ROOT', 'data/cifar10')).absolute() / 'test'
    cell = benchmark / 'fog' / '1'
    for picture in cell.rglob('*.png'):
        name = picture.relative_to(cell).with_suffix('')
        (original,) = source.glob(f'{name}.*')
        link = folder / f'{name}{original.suffix}'
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(original)


def table(runs: Sequence[Run], dense: Path, out: Path) -> Table:
    """Mean and standard deviation over the seeds, in per cent."""
    found = Table(title='CIFAR-10: top-1 in %, mean and standard deviation over seeds')
    for head in ('network', 'keep', 'arm', 'seeds', 'parameters', 'all clean', 'P', 'mPC', 'rPC'):
        found.add_column(head, justify='left' if head in ('network', 'arm') else 'right')
    found.add_row(runs[0].network, '1', 'dense', '1', *_cells([dense]))
    for keep in dict.fromkeys(run.keep for run in runs):
        found.add_section()
        for arm in dict.fromkeys(run.arm for run in runs):
            chosen = [r for r in runs if r.keep == keep and r.arm == arm]
            finals = [c for r in chosen if (c := study.last_checkpoint(out / r.folder))]
            found.add_row(chosen[0].network, f'{keep:g}', arm, str(len(finals)), *_cells(finals))
    return found


def _cells(checkpoints: Sequence[Path]) -> list[str]:
    rows = []
    for checkpoint in checkpoints:
        found = study.summary(checkpoint, 'top1')
        clean = study.logged(checkpoint, 'accuracy/top1')
        rows.append((clean, 100 * found.p, 100 * found.mpc, 100 * found.rpc))
    columns = zip(*rows, strict=True)
    return [
        f'{study.model(checkpoints[0]).params:,}',
        *(study.spread(column) for column in columns),
    ]


if __name__ == '__main__':
    sys.exit(main())
