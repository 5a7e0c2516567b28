"""AdaSAP against plain pruning and plain SAM on photographs of Pascal VOC 2012, six classes.

Every run starts from one converged dense SSDLite-MobileNetV2 and trains for the same epochs, but
for 'plain, two times', which trains for twice as many: as many passes through the network as the
sharpness-aware runs make. Stopped and started again, it goes on where it was. Prints the table of
benchmarks/README.md from what is there; with ``--record`` also from what earlier studies found,
each from a dense detector of its own.

    VOC_ROOT=/data/VOCdevkit/ python benchmarks/voc2012.py --out work_dirs/voc2012_study --jobs 2 \
        --record benchmarks/results/voc2012.json
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import records
import study
from rich.console import Console
from rich.table import Table
from study import Arm, stages

CONFIG = 'benchmarks/configs/ssdlite160_voc2012_{}.py'
HOOK = 'custom_hooks.5'
AP50 = 'AP50'


ARMS = {
    'plain': Arm('pruned'),
    'plain, two times': Arm('pruned', times=2),
    'SAM throughout': stages(HOOK, 'uniform', 'uniform'),
    'AdaSAP': Arm('adasap'),
    'AdaSAP, two times': Arm('adasap', times=2),
    # rho_min stays where it is: 'rho_max 0.002' is nearly the same radius for all channels.
    'AdaSAP, rho 0.1': Arm('adasap', options=('optim_wrapper.rho=0.1',)),
    'AdaSAP, rho 1': Arm('adasap', options=('optim_wrapper.rho=1.0',)),
    'AdaSAP, rho_max 0.002': Arm('adasap', options=('optim_wrapper.rho_max=0.002',)),
    'AdaSAP, rho_max 0.1': Arm('adasap', options=('optim_wrapper.rho_max=0.1',)),
    'AdaSAP, magnitude': Arm('adasap', options=(f'{HOOK}.importance.type=MagnitudeImportance',)),
    'AdaSAP, latency': Arm('adasap', options=(f'{HOOK}.budget.type=LatencyBudget',)),
    'plain, latency': Arm('pruned', options=(f'{HOOK}.budget.type=LatencyBudget',)),
    # The paper's ablation, and the adaptive stage upside down.
    'none, uniform': stages(HOOK, 'plain', 'uniform'),
    # In SAM's form, with the radius at which the loss rises as much as at rho=0.5 in ASAM's.
    'none, uniform SAM': stages(HOOK, 'plain', 'uniform', 'form=sam', 'rho=0.05'),
    'inverse, uniform': stages(HOOK, 'inverse', 'uniform'),
    'adaptive, none': stages(HOOK, 'adaptive', 'plain'),
    'uniform, none': stages(HOOK, 'uniform', 'plain'),
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


@dataclass(frozen=True)
class Record:
    """What a run came to; AP50 in per cent.

    Attributes:
        dense: Which dense detector it started from, the beginning of its checkpoint's SHA-256.
        keep: Share of the parameters that was asked for; 1 for the dense detector itself.
        arm: Of ``ARMS``, or 'dense'.
        seed: Of the run.
        params: Parameters.
        macs: Of one picture.
        clean: On all pictures of the validation set.
        p: On the pictures that are corrupted, clean.
        mpc: On them corrupted, the mean over 15 corruptions at 5 severities.
        severities: The mean over the corruptions at each severity.
    """

    dense: str
    keep: float
    arm: str
    seed: int
    params: int
    macs: float
    clean: float
    p: float
    mpc: float
    severities: tuple[float, ...]

    @property
    def key(self) -> tuple[str, float, str, int]:
        """Whose result it is: a later one takes the place of an earlier."""
        return self.dense, self.keep, self.arm, self.seed


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
    found = collect(runs, out)
    if args.record:
        found = records.merge(args.record, found, Record)
    Console(width=120).print(table(found))
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
    parser.add_argument('--record', type=Path, help='file of results, to which new ones are added')
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


def collect(runs: Iterable[Run], out: Path) -> list[Record]:
    """Results of what has been trained and evaluated."""
    dense = study.last_checkpoint(out / 'dense')
    if not dense:
        return []
    name = study.checksum(dense)
    found = [_record(dense, name, keep=1, arm='dense', seed=0)]
    for run in runs:
        if final := study.last_checkpoint(out / run.folder):
            found.append(_record(final, name, keep=run.keep, arm=run.arm, seed=run.seed))
    return found


def _record(checkpoint: Path, dense: str, *, keep: float, arm: str, seed: int) -> Record:
    summary, model = study.summary(checkpoint, AP50), study.model(checkpoint)
    return Record(
        dense=dense, keep=keep, arm=arm, seed=seed, params=model.params, macs=model.macs,
        clean=study.percent(study.logged(checkpoint, 'pascal_voc/AP50')),
        p=study.percent(summary.p), mpc=study.percent(summary.mpc),
        severities=tuple(map(study.percent, summary.per_severity.values())),
    )  # fmt: skip


def table(results: Sequence[Record]) -> Table:
    """Mean and standard deviation over the runs of an arm, AP50 in per cent."""
    found = Table(title='VOC 2012, six classes: AP50 in %, mean and standard deviation over runs')
    heads = ('keep', 'arm', 'runs', 'parameters', 'MACs', 'all clean', 'P', 'mPC', 'rPC')
    for head in heads:
        found.add_column(head, justify='left' if head == 'arm' else 'right')
    arms = ['dense', *ARMS]
    groups = sorted({(r.keep, r.arm) for r in results}, key=lambda g: (-g[0], arms.index(g[1])))
    for index, (keep, arm) in enumerate(groups):
        runs = [r for r in results if (r.keep, r.arm) == (keep, arm)]
        if index and groups[index - 1][0] != keep:
            found.add_section()
        found.add_row(
            f'{keep:g}', arm, str(len(runs)),
            study.spread([r.params / 1e6 for r in runs], digits=3) + ' M',
            study.spread([r.macs / 1e6 for r in runs], digits=0) + ' M',
            study.spread([r.clean for r in runs]), study.spread([r.p for r in runs]),
            study.spread([r.mpc for r in runs]), study.spread([100 * r.mpc / r.p for r in runs]),
        )  # fmt: skip
    return found


if __name__ == '__main__':
    sys.exit(main())
