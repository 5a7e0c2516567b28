"""AdaSAP against plain pruning and plain SAM on photographs of Pascal VOC 2012, six classes.

Every run starts from one converged dense SSDLite-MobileNetV2 and trains for the same epochs, but
for 'plain, two times', which trains for twice as many: as many passes through the network as the
sharpness-aware runs make. Stopped and started again, it goes on where it was. Prints the table of
benchmarks/README.md from what is there.

    VOC_ROOT=/data/VOCdevkit/ python benchmarks/voc2012.py --out work_dirs/voc2012_study --jobs 2
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import study
from rich.console import Console
from rich.table import Table

CONFIG = 'benchmarks/configs/ssdlite160_voc2012_{}.py'
HOOK = 'custom_hooks.5'
AP50 = 'AP50'


@dataclass(frozen=True)
class Arm:
    """A way to prune: a config, how many times its epochs, and what differs from it."""

    config: str
    times: int = 1
    options: tuple[str, ...] = ()


def _stages(before: str, after: str) -> Arm:
    return Arm('adasap', options=(f'{HOOK}.before_cut={before}', f'{HOOK}.after_cut={after}'))


ARMS = {
    'plain': Arm('pruned'),
    'plain, two times': Arm('pruned', times=2),
    'SAM throughout': _stages('uniform', 'uniform'),
    'AdaSAP': Arm('adasap'),
    'AdaSAP, magnitude': Arm('adasap', options=(f'{HOOK}.importance.type=MagnitudeImportance',)),
    'AdaSAP, latency': Arm('adasap', options=(f'{HOOK}.budget.type=LatencyBudget',)),
    'plain, latency': Arm('pruned', options=(f'{HOOK}.budget.type=LatencyBudget',)),
    # The paper's ablation, and the adaptive stage upside down.
    'none, uniform': _stages('plain', 'uniform'),
    'inverse, uniform': _stages('inverse', 'uniform'),
    'adaptive, none': _stages('adaptive', 'plain'),
    'uniform, none': _stages('uniform', 'plain'),
}
MAIN = ('plain', 'plain, two times', 'SAM throughout', 'AdaSAP')


@dataclass(frozen=True)
class Run:
    """One pruned detector."""

    keep: float
    arm: str
    seed: int

    @property
    def folder(self) -> str:
        arm = re.sub(r'\W+', '_', self.arm)
        return f'keep{round(100 * self.keep)}/{arm}/seed{self.seed}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, then print the table of all that is there."""
    args = _parser().parse_args(argv)
    out = Path(args.out)
    runs = [Run(keep, arm, seed) for seed in args.seeds for keep in args.keeps for arm in args.arms]
    if not args.table_only:
        benchmark = Path(args.benchmark or out / 'voc2012-c')
        if not (benchmark / 'manifest.json').is_file():
            study.call(
                'make_voc_c', '--year', '2012', '--split', args.split, '--out', str(benchmark),
                '--quiet', log=out / 'build.log',
            )  # fmt: skip
        dense = study.train(CONFIG.format('dense'), out / 'dense', options=args.options)
        study.evaluate(CONFIG.format('dense'), dense, benchmark, options=_pictures(args.split))
        study.in_parallel(lambda run: one(run, dense, out, benchmark, args), runs, jobs=args.jobs)
    Console(width=120).print(table(runs, out))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', default='work_dirs/voc2012_study')
    parser.add_argument('--benchmark', help='built VOC-C; by default built under --out')
    parser.add_argument('--split', default='val', help='image set that is corrupted')
    parser.add_argument('--keeps', nargs='+', type=float, default=[0.4])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', default=list(MAIN), choices=ARMS)
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, one thread each')
    parser.add_argument('--options', nargs='*', default=[], help='more --cfg-options of all runs')
    parser.add_argument('--table-only', action='store_true', help='train nothing')
    return parser


def one(run: Run, dense: Path, out: Path, benchmark: Path, args: argparse.Namespace) -> None:
    """Train and evaluate one pruned detector."""
    arm = ARMS[run.arm]
    own = (
        f'load_from={dense}',
        f'randomness.seed={run.seed}',
        f'{HOOK}.budget.keep={run.keep}',
        *arm.options,
        *args.options,
    )
    config = CONFIG.format(arm.config)
    checkpoint = study.train(config, out / run.folder, times=arm.times, options=own)
    study.evaluate(CONFIG.format('dense'), checkpoint, benchmark, options=_pictures(args.split))


def _pictures(split: str) -> list[str]:
    return [f'test_dataloader.dataset.ann_file=VOC2012/ImageSets/Main/{split}.txt']


def table(runs: Sequence[Run], out: Path) -> Table:
    """Mean and standard deviation over the seeds, AP50 in per cent."""
    found = Table(title='VOC 2012, six classes: AP50 in %, mean and standard deviation over seeds')
    heads = ('keep', 'arm', 'seeds', 'parameters', 'MACs', 'all clean', 'P', 'mPC', 'rPC')
    for head in heads:
        found.add_column(head, justify='left' if head == 'arm' else 'right')
    dense = study.last_checkpoint(out / 'dense')
    if dense:
        found.add_row('1', 'dense', '1', *_cells([dense]))
    for keep in dict.fromkeys(run.keep for run in runs):
        found.add_section()
        for arm in dict.fromkeys(run.arm for run in runs):
            folders = [out / r.folder for r in runs if r.keep == keep and r.arm == arm]
            finals = [c for folder in folders if (c := study.last_checkpoint(folder))]
            if finals:
                found.add_row(f'{keep:g}', arm, str(len(finals)), *_cells(finals))
    return found


def _cells(checkpoints: Sequence[Path]) -> list[str]:
    rows = []
    for checkpoint in checkpoints:
        summary = study.summary(checkpoint, AP50)
        clean = study.logged(checkpoint, 'pascal_voc/AP50')
        rows.append((100 * clean, 100 * summary.p, 100 * summary.mpc, 100 * summary.rpc))
    model = study.model(checkpoints[0])
    columns = zip(*rows, strict=True)
    return [f'{model.params:,}', f'{model.macs / 1e6:,.0f} M', *map(study.spread, columns)]


if __name__ == '__main__':
    sys.exit(main())
