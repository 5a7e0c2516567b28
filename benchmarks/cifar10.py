"""AdaSAP against plain pruning on CIFAR-10: equal epochs and equal passes, several seeds.

Every run starts from one dense network. 'plain' and 'AdaSAP' train for the same epochs; 'plain, two
times' for twice as many, which is as many passes through the network as AdaSAP makes. Stopped and
started again, it goes on where it was. Prints the table of benchmarks/README.md.

    CIFAR10_ROOT=/data/cifar10/ python benchmarks/cifar10.py --out work_dirs/cifar10_study --jobs 2
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from adasap_det.robustness.cells import load_results
from adasap_det.robustness.metrics import FULL_GRID, summarise

ROOT = Path(__file__).resolve().parents[1]
ARMS = {'plain': ('pruned', 1), 'plain, two times': ('pruned', 2), 'AdaSAP': ('adasap', 1)}


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
    evaluate(args.network, dense, benchmark, out)
    with ThreadPoolExecutor(args.jobs) as pool:
        for future in [pool.submit(one, run, dense, out, benchmark, args.options) for run in runs]:
            future.result()
    Console(width=120).print(table(runs, dense, out))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', default='work_dirs/cifar10_study')
    parser.add_argument('--network', default='resnet18_w8_cifar10', help='prefix of the configs')
    parser.add_argument('--keeps', nargs='+', type=float, default=[0.5, 0.3])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', default=list(ARMS), choices=ARMS)
    parser.add_argument('--subset', type=int, default=1000, help='test pictures to corrupt')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, one thread each')
    parser.add_argument('--options', nargs='*', default=[], help='more --cfg-options of all runs')
    return parser


def build(benchmark: Path, subset: int) -> None:
    """CIFAR-10-C of a part of the test pictures."""
    if (benchmark / 'manifest.json').is_file():
        return
    source = os.path.join(os.environ.get('CIFAR10_ROOT', 'data/cifar10'), 'test')
    _call(
        'make_voc_c', '--layout', 'folder', '--source', source, '--out', str(benchmark),
        '--subset', str(subset), '--format', 'png', '--quiet', log=benchmark.parent / 'build.log',
    )  # fmt: skip


def train_dense(network: str, out: Path, options: Sequence[str]) -> Path:
    """The dense network that all start from."""
    config = f'configs/cifar10/{network}_dense.py'
    return _train(config, out / network / 'dense', 1, [*options])


def one(run: Run, dense: Path, out: Path, benchmark: Path, options: Sequence[str]) -> None:
    """Train and evaluate one pruned network."""
    twin, times = ARMS[run.arm]
    config = f'configs/cifar10/{run.network}_{twin}.py'
    own = [
        f'load_from={dense}',
        f'randomness.seed={run.seed}',
        f'custom_hooks.1.budget.keep={run.keep}',
        *options,
    ]
    checkpoint = _train(config, out / run.folder, times, own)
    evaluate(run.network, checkpoint, benchmark, out)


def _train(config: str, folder: Path, times: int, options: list[str]) -> Path:
    epochs = Config.fromfile(ROOT / config).max_epochs * times
    final = folder / f'epoch_{epochs}.pth'
    if not final.is_file():
        if times != 1:
            options = [
                *options,
                f'train_cfg.max_epochs={epochs}',
                f'param_scheduler.1.end={epochs}',
                f'param_scheduler.1.T_max={epochs}',
            ]
        # A checkpoint an epoch: what is stopped goes on.
        options = [*options, 'default_hooks.checkpoint.interval=1']
        _call(
            'train', str(ROOT / config), '--work-dir', str(folder), '--resume', '--cfg-options',
            *options, log=folder.with_suffix('.log'),
        )  # fmt: skip
    return final


def evaluate(network: str, checkpoint: Path, benchmark: Path, out: Path) -> None:
    """Clean and corrupted accuracy on the benchmark's pictures."""
    results = checkpoint.parent / 'robustness'
    if (results / 'model.json').is_file():
        return
    subset = benchmark / 'clean'
    _link_clean(benchmark, subset)
    _call(
        'test_robustness', str(ROOT / f'configs/cifar10/{network}_dense.py'), str(checkpoint),
        '--benchmark', str(benchmark), '--out', str(results), '--pictures', '0',
        '--cfg-options', f'test_dataloader.dataset.data_root={subset}',
        log=checkpoint.parent / 'robustness.log',
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


def _call(tool: str, *arguments: str, log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with open(log, 'ab') as file:
        code = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *arguments],
            stdout=file, stderr=subprocess.STDOUT, env=environment, check=False,
        ).returncode  # fmt: skip
    if code:
        raise SystemExit(f'{tool} failed, exit status {code}; see {log}')


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
            folders = [out / run.folder for run in chosen]
            finals = [max(f.glob('epoch_*.pth'), key=_epoch) for f in folders]
            found.add_row(chosen[0].network, f'{keep:g}', arm, str(len(finals)), *_cells(finals))
    return found


def _cells(checkpoints: Sequence[Path]) -> list[str]:
    rows = []
    for checkpoint in checkpoints:
        results = load_results(checkpoint.parent / 'robustness')
        summary = summarise(results.cells, metric='top1', grid=FULL_GRID)
        rows.append((_validated(checkpoint), 100 * summary.p, 100 * summary.mpc, 100 * summary.rpc))
    params = load_results(checkpoints[0].parent / 'robustness').model.params
    return [f'{params:,}', *(_spread(column) for column in zip(*rows, strict=True))]


def _spread(values: Sequence[float]) -> str:
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{deviation}'


def _validated(checkpoint: Path) -> float:
    """Last accuracy on the whole test set that the training logged."""
    logs = sorted(checkpoint.parent.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line][-1]


def _epoch(path: Path) -> int:
    return int(path.stem.rpartition('_')[2])


if __name__ == '__main__':
    sys.exit(main())
