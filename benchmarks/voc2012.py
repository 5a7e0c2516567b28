"""AdaSAP against plain pruning and uniform SAM on Pascal VOC 2012, six classes.

Every run starts from one dense SSDLite-MobileNetV2 and trains for the same epochs. '2x epochs'
trains for twice as many: as many passes through the network as the sharpness-aware runs make. An
interrupted study resumes. Prints the table of benchmarks/README.md from the runs found; with
``--record`` also from earlier studies, each with a dense detector of its own.

    VOC_ROOT=/data/VOCdevkit/ python benchmarks/voc2012.py --out work_dirs/voc2012_study --jobs 2 \
        --networks ssdlite128_voc2012_900 --split small_val \
        --record benchmarks/results/voc2012.json
"""

from __future__ import annotations

import argparse
import sys

from records import Metric
from study import HOOK, Arm, Benchmark, Study, stages

# A batch of one small image spends most of its time on call overhead, which pruning leaves as is.
LATENCY = (f'{HOOK}.budget.type=LatencyBudget', f'{HOOK}.budget.batch_size=8')

ARMS = {
    'plain': Arm('pruned'),
    'plain, 2x epochs': Arm('pruned', epochs_factor=2),
    'uniform SAM': stages('uniform', 'uniform'),
    'AdaSAP': Arm('adasap'),
    'AdaSAP, 2x epochs': Arm('adasap', epochs_factor=2),
    # rho_min is unchanged: 'rho_max 0.002' gives nearly the same radius to all channels.
    'AdaSAP, rho 0.1': Arm('adasap', options=('optim_wrapper.rho=0.1',)),
    'AdaSAP, rho 1': Arm('adasap', options=('optim_wrapper.rho=1.0',)),
    'AdaSAP, rho_max 0.002': Arm('adasap', options=('optim_wrapper.rho_max=0.002',)),
    'AdaSAP, rho_max 0.1': Arm('adasap', options=('optim_wrapper.rho_max=0.1',)),
    'AdaSAP, magnitude': Arm('adasap', options=(f'{HOOK}.importance.type=MagnitudeImportance',)),
    'AdaSAP, latency': Arm('adasap', options=LATENCY),
    'plain, latency': Arm('pruned', options=LATENCY),
    # The paper's ablation, and the adaptive stage with inverted radii; before / after pruning.
    'no perturbation / uniform': stages('plain', 'uniform'),
    # The radius in SAM's form that raises the loss as much as rho=0.5 in ASAM's.
    'no perturbation / uniform, SAM form': stages('plain', 'uniform', 'form=sam', 'rho=0.05'),
    'inverse / uniform': stages('inverse', 'uniform'),
    'adaptive / no perturbation': stages('adaptive', 'plain'),
    'uniform / no perturbation': stages('uniform', 'plain'),
}


def benchmark(args: argparse.Namespace) -> Benchmark:
    """VOC-C of one image set."""
    return Benchmark(
        name='voc2012-c',
        build=('--year', '2012', '--split', args.split),
        test_options=(f'test_dataloader.dataset.ann_file=VOC2012/ImageSets/Main/{args.split}.txt',),
    )


STUDY = Study(
    description=__doc__.splitlines()[0],
    title='VOC 2012, six classes: AP50',
    out='work_dirs/voc2012_study',
    networks=['ssdlite160_voc2012'],
    keep_ratios=[0.4],
    arms=ARMS,
    main_arms=['plain', 'plain, 2x epochs', 'uniform SAM', 'AdaSAP'],
    # One or two losses are logged per epoch.
    metric=Metric('AP50', 'pascal_voc/AP50', logged_as_fraction=True, last_losses=2),
    benchmark=benchmark,
    add_arguments=lambda parser: parser.add_argument(
        '--split', default='val', help='image set to corrupt'
    ),
)

if __name__ == '__main__':
    sys.exit(STUDY.main())
