"""AdaSAP against plain pruning and plain SAM on photographs of Pascal VOC 2012, six classes.

Every run starts from one dense SSDLite-MobileNetV2 and trains for the same epochs, but for 'plain,
two times', which trains for twice as many: as many passes through the network as the
sharpness-aware runs make. Stopped and started again, it goes on where it was. Prints the table of
benchmarks/README.md from what is there; with ``--record`` also from what earlier studies found,
each from a dense detector of its own.

    VOC_ROOT=/data/VOCdevkit/ python benchmarks/voc2012.py --out work_dirs/voc2012_study --jobs 2 \
        --network ssdlite128_voc2012_900 --split small_val \
        --record benchmarks/results/voc2012.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import command
import records
import study
from records import Metric
from study import Arm, Run, stages

CONFIG = 'benchmarks/configs/{}_{}.py'
NETWORKS = ('ssdlite160_voc2012', 'ssdlite128_voc2012_900')
HOOK = 'custom_hooks.5'
#: An epoch logs one loss or two.
METRIC = Metric('AP50', 'pascal_voc/AP50', share=True, last_losses=2)
# One small image at a time spends most of its time on calls, which no channel changes.
LATENCY = (f'{HOOK}.budget.type=LatencyBudget', f'{HOOK}.budget.batch_size=8')

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
    'AdaSAP, latency': Arm('adasap', options=LATENCY),
    'plain, latency': Arm('pruned', options=LATENCY),
    # The paper's ablation, and the adaptive stage upside down.
    'none, uniform': stages(HOOK, 'plain', 'uniform'),
    # In SAM's form, with the radius at which the loss rises as much as at rho=0.5 in ASAM's.
    'none, uniform SAM': stages(HOOK, 'plain', 'uniform', 'form=sam', 'rho=0.05'),
    'inverse, uniform': stages(HOOK, 'inverse', 'uniform'),
    'adaptive, none': stages(HOOK, 'adaptive', 'plain'),
    'uniform, none': stages(HOOK, 'uniform', 'plain'),
}
TITLE = 'VOC 2012, six classes: AP50'
#: What AdaSAP is compared with: equal epochs, and equal passes.
AGAINST = ('plain', 'plain, two times')
MAIN = ('plain', 'plain, two times', 'SAM throughout', 'AdaSAP')


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, then print the table of all that is there."""
    args = _parser().parse_args(argv)
    out = args.out
    runs = [
        Run(args.network, keep, arm, seed)
        for seed in args.seeds
        for keep in args.keeps
        for arm in args.arms
    ]
    if not args.table_only:
        benchmark = Path(args.benchmark or out / 'voc2012-c')
        if not (benchmark / 'manifest.json').is_file():
            study.call(
                'make_voc_c', '--year', '2012', '--split', args.split, '--out', str(benchmark),
                '--quiet', log=out / 'build.log',
            )  # fmt: skip
        config = CONFIG.format(args.network, 'dense')
        dense = study.train(
            config, out / args.network / 'dense',
            options=(f'randomness.seed={args.dense_seed}', *args.options),
        )  # fmt: skip
        _evaluate(args, dense, benchmark)
        study.in_parallel(lambda run: one(run, dense, out, benchmark, args), runs, jobs=args.jobs)
    metric = replace(METRIC, results=args.results)
    found = records.collect(args.network, runs, out, metric, dense_seed=args.dense_seed)
    command.show(found, tuple(ARMS), title=TITLE, against=AGAINST, record=args.record)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        __doc__.splitlines()[0], out='work_dirs/voc2012_study', keeps=[0.4], arms=ARMS, main=MAIN
    )
    parser.add_argument(
        '--network', default=NETWORKS[0], help='prefix of the configs', choices=NETWORKS
    )
    parser.add_argument(
        '--dense-seed', type=int, default=0,
        help='of the dense detector; another one needs an --out of its own',
    )  # fmt: skip
    parser.add_argument('--benchmark', help='built VOC-C; by default built under --out')
    parser.add_argument('--split', default='val', help='image set that is corrupted')
    parser.add_argument(
        '--results', default=study.RESULTS,
        help='folder of the evaluation beside each checkpoint',
    )  # fmt: skip
    return parser


def one(run: Run, dense: Path, out: Path, benchmark: Path, args: argparse.Namespace) -> None:
    """Train and evaluate one pruned detector."""
    arm = ARMS[run.arm]
    own = (
        f'load_from={dense}',
        f'randomness.seed={run.seed}',
        f'{HOOK}.budget.keep_ratio={run.keep}',
        *arm.options,
        *args.options,
    )
    config = CONFIG.format(run.network, arm.config)
    checkpoint = study.train(config, out / run.folder, times=arm.times, options=own)
    _evaluate(args, checkpoint, benchmark)


def _evaluate(args: argparse.Namespace, checkpoint: Path, benchmark: Path) -> None:
    study.evaluate(
        CONFIG.format(args.network, 'dense'), checkpoint, benchmark, results=args.results,
        options=[f'test_dataloader.dataset.ann_file=VOC2012/ImageSets/Main/{args.split}.txt'],
    )  # fmt: skip


if __name__ == '__main__':
    sys.exit(main())
