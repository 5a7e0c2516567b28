"""AdaSAP against plain pruning on CIFAR-10: equal epochs and equal passes, several seeds.

Every run starts from one dense network. 'plain' and 'AdaSAP' train for the same epochs; 'plain, two
times' for twice as many, which is as many passes through the network as AdaSAP makes. Stopped and
started again, it goes on where it was. Prints the table of benchmarks/README.md from what is there;
with ``--record`` also from what earlier studies found, each from a dense network of its own.

    CIFAR10_ROOT=/data/cifar10/ python benchmarks/cifar10.py --out work_dirs/cifar10 --jobs 2 \
        --networks mobilenetv2_cifar10_5k resnet18_w8_cifar10_5k \
        --record benchmarks/results/cifar10.json
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import command
import records
import study
from records import Metric
from study import Arm, Run, stages

# Where a network's configs may lie: those of the studies and those that are shipped.
CONFIGS = ('benchmarks/configs', 'configs/cifar10')
HOOK = 'custom_hooks.1'
METRIC = Metric('top1', 'accuracy/top1', share=False, last_losses=8)

ARMS = {
    'plain': Arm('pruned'),
    'plain, two times': Arm('pruned', times=2),
    'AdaSAP': Arm('adasap'),
    # Until the training loss has nowhere to go.
    'plain, four times': Arm('pruned', times=4),
    'plain, eight times': Arm('pruned', times=8),
    'AdaSAP, two times': Arm('adasap', times=2),
    'AdaSAP, four times': Arm('adasap', times=4),
    # What each stage is worth, and how far to go in the last.
    'none, uniform': stages(HOOK, 'plain', 'uniform'),
    'adaptive, none': stages(HOOK, 'adaptive', 'plain'),
    'AdaSAP, rho 1': Arm('adasap', options=('optim_wrapper.rho=1.0',)),
    'AdaSAP, rho 2': Arm('adasap', options=('optim_wrapper.rho=2.0',)),
    # In SAM's form, at a radius that raises the loss about as much as rho=0.5 in ASAM's.
    'none, uniform SAM': stages(HOOK, 'plain', 'uniform', 'form=sam', 'rho=0.05'),
}
TITLE = 'CIFAR-10: top-1'
#: What AdaSAP is compared with: equal epochs, and equal passes.
AGAINST = ('plain', 'plain, two times')
MAIN = ('plain', 'plain, two times', 'AdaSAP')


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, then print the table of all that is there."""
    args = _parser().parse_args(argv)
    out = args.out
    runs = [
        Run(network, keep, arm, seed)
        for seed in args.seeds
        for keep in args.keeps
        for network in args.networks
        for arm in args.arms
    ]
    if not args.table_only:
        benchmark = out / f'cifar10-c-{args.subset}'
        build(benchmark, args.subset)
        study.in_parallel(
            lambda name: evaluate(name, train_dense(name, out, args.options), benchmark),
            args.networks, jobs=args.jobs,
        )  # fmt: skip
        study.in_parallel(lambda run: one(run, out, benchmark, args.options), runs, jobs=args.jobs)
    found = [
        record
        for network in args.networks
        for record in records.collect(network, runs, out, METRIC)
    ]
    command.show(found, tuple(ARMS), title=TITLE, against=AGAINST, record=args.record)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        __doc__.splitlines()[0], out='work_dirs/cifar10_study', keeps=[0.5, 0.3], arms=ARMS,
        main=MAIN,
    )  # fmt: skip
    parser.add_argument(
        '--networks', nargs='+', default=['resnet18_w8_cifar10'], help='prefixes of the configs'
    )
    parser.add_argument('--subset', type=int, default=1000, help='test images to corrupt')
    return parser


def config(network: str, twin: str) -> str:
    """Of a network, the dense, plainly pruned or AdaSAP config.

    Raises:
        SystemExit: If there is none.
    """
    for folder in CONFIGS:
        path = f'{folder}/{network}_{twin}.py'
        if (study.ROOT / path).is_file():
            return path
    raise SystemExit(f'no {network}_{twin}.py in {" or ".join(CONFIGS)}')


def build(benchmark: Path, subset: int) -> None:
    """CIFAR-10-C of a part of the test images."""
    if (benchmark / 'manifest.json').is_file():
        return
    source = os.path.join(os.environ.get('CIFAR10_ROOT', 'data/cifar10'), 'test')
    study.call(
        'make_voc_c', '--layout', 'folder', '--source', source, '--out', str(benchmark),
        '--subset', str(subset), '--format', 'png', '--quiet',
        log=benchmark.parent / 'build.log',
    )  # fmt: skip


def train_dense(network: str, out: Path, options: Sequence[str]) -> Path:
    """The dense network that all start from."""
    return study.train(config(network, 'dense'), out / network / 'dense', options=options)


def one(run: Run, out: Path, benchmark: Path, options: Sequence[str]) -> None:
    """Train and evaluate one pruned network."""
    arm = ARMS[run.arm]
    own = (
        f'load_from={train_dense(run.network, out, options)}',
        f'randomness.seed={run.seed}',
        f'{HOOK}.budget.keep_ratio={run.keep}',
        *arm.options,
        *options,
    )
    twin = config(run.network, arm.config)
    checkpoint = study.train(twin, out / run.folder, times=arm.times, options=own)
    evaluate(run.network, checkpoint, benchmark)


def evaluate(network: str, checkpoint: Path, benchmark: Path) -> None:
    """Clean and corrupted accuracy on the benchmark's images."""
    study.evaluate(config(network, 'dense'), checkpoint, benchmark)


if __name__ == '__main__':
    sys.exit(main())
