"""AdaSAP against plain pruning on CIFAR-10: equal epochs and equal passes, several seeds.

Every run starts from one dense network. 'plain' and 'AdaSAP' train for the same epochs; 'plain, 2x
epochs' for twice as many: as many passes through the network as AdaSAP makes. An interrupted study
resumes. Prints the table of benchmarks/README.md from the runs found; with ``--record`` also from
earlier studies, each with a dense network of its own.

    CIFAR10_ROOT=/data/cifar10/ python benchmarks/cifar10.py --out work_dirs/cifar10 --jobs 2 \
        --networks mobilenetv2_cifar10_5k resnet18_w8_cifar10_5k \
        --record benchmarks/results/cifar10.json
"""

from __future__ import annotations

import argparse
import os
import sys

from records import Metric
from study import Arm, Benchmark, Study, stages

#: Shipped configs, which a study can train as they are.
SHIPPED = {
    'resnet18_w8_cifar10': {
        'dense': 'configs/resnet/resnet18-w8_1xb128-24e_cifar10.py',
        'pruned': 'configs/resnet/resnet18-w8_pruned-params50_1xb128-8e_cifar10.py',
        'adasap': 'configs/resnet/resnet18-w8_adasap-params50_1xb128-8e_cifar10.py',
    },
    'mobilenetv2_cifar10': {
        'dense': 'configs/mobilenet/mobilenet-v2_1xb128-8e_cifar10.py',
        'pruned': 'configs/mobilenet/mobilenet-v2_pruned-params50_1xb128-6e_cifar10.py',
        'adasap': 'configs/mobilenet/mobilenet-v2_adasap-params50_1xb128-6e_cifar10.py',
    },
}

ARMS = {
    'plain': Arm('pruned'),
    'plain, 2x epochs': Arm('pruned', epochs_factor=2),
    'AdaSAP': Arm('adasap'),
    # Until the training loss stops falling.
    'plain, 4x epochs': Arm('pruned', epochs_factor=4),
    'plain, 8x epochs': Arm('pruned', epochs_factor=8),
    'AdaSAP, 2x epochs': Arm('adasap', epochs_factor=2),
    'AdaSAP, 4x epochs': Arm('adasap', epochs_factor=4),
    # Each stage alone (before / after pruning), and larger radii in the last stage.
    'no perturbation / uniform': stages('plain', 'uniform'),
    'adaptive / no perturbation': stages('adaptive', 'plain'),
    'AdaSAP, rho 1': Arm('adasap', options=('optim_wrapper.rho=1.0',)),
    'AdaSAP, rho 2': Arm('adasap', options=('optim_wrapper.rho=2.0',)),
    # The radius in SAM's form that raises the loss about as much as rho=0.5 in ASAM's.
    'no perturbation / uniform, SAM form': stages('plain', 'uniform', 'form=sam', 'rho=0.05'),
}


def benchmark(args: argparse.Namespace) -> Benchmark:
    """CIFAR-10-C of a subset of the test images."""
    source = os.path.join(os.environ.get('CIFAR10_ROOT', 'data/cifar10'), 'test')
    return Benchmark(
        name=f'cifar10-c-{args.subset}',
        build=(
            '--layout', 'folder', '--source', source, '--subset', str(args.subset),
            '--format', 'png',
        ),
    )  # fmt: skip


STUDY = Study(
    description=__doc__.splitlines()[0],
    title='CIFAR-10: top-1',
    out='work_dirs/cifar10_study',
    networks=['resnet18_w8_cifar10'],
    keep_ratios=[0.5, 0.3],
    arms=ARMS,
    main_arms=['plain', 'plain, 2x epochs', 'AdaSAP'],
    metric=Metric('top1', 'accuracy/top1', logged_as_fraction=False, last_losses=8),
    benchmark=benchmark,
    add_arguments=lambda parser: parser.add_argument(
        '--subset', type=int, default=1000, help='number of test images to corrupt'
    ),
    shipped=SHIPPED,
)

if __name__ == '__main__':
    sys.exit(STUDY.main())
