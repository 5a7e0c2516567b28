"""``adasap-test-robustness``: evaluate a checkpoint on clean and corrupted images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import add_common_options, report_usage_errors

_PROGRAM = 'adasap-test-robustness'


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.test_robustness_command import run  # takes seconds

    return report_usage_errors(_PROGRAM, lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description='Evaluate a dense or pruned checkpoint on clean and corrupted images: P, mPC '
        'and rPC of Michaelis et al. 2019. An interrupted run resumes.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        '--work-dir',
        dest='out',
        metavar='DIR',
        help='output folder (default: robustness/<name> next to the checkpoint)',
    )
    parser.add_argument(
        '--name', help='model name in reports (default: from the folder and file name)'
    )
    parser.add_argument(
        '--benchmark',
        metavar='DIR',
        help='benchmark built by tools/make_voc_c.py, or the published ImageNet-C (default: '
        'corrupt on the fly)',
    )
    parser.add_argument(
        '--corruptions',
        nargs='+',
        default=['benchmark'],
        metavar='NAME',
        help='names, families (noise, blur, weather, digital), benchmark (the 15; default), '
        'validation (4 more, never part of mPC) or all',
    )
    parser.add_argument(
        '--severities',
        nargs='+',
        type=int,
        default=[1, 2, 3, 4, 5],
        metavar='S',
        help='severities to evaluate, from 1 to 5 (default: 1 2 3 4 5)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of on-the-fly corruptions (default: 0)'
    )
    parser.add_argument(
        '--metric',
        help='metric to print: AP50 (default) or AP; for classifiers top1 (default) or top5',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=1,
        metavar='N',
        help='number of example images with predictions per corruption (default: 1)',
    )
    parser.add_argument(
        '--per-image',
        action='store_true',
        help='also write what each image contributes to AP50 or top-1, into per_image/ of the '
        'output folder, for paired confidence intervals',
    )
    parser.add_argument(
        '--report',
        nargs='*',
        metavar='RESULTS',
        help='write report.html into the output folder; results folders of other models given '
        'here are included, the first one is the baseline',
    )
    parser.add_argument(
        '--shifted',
        nargs='+',
        default=[],
        metavar='NAME=CONFIG',
        help='also evaluate on the test sets of these configs, with the same classes: V2=configs/'
        'resnet/resnet50_test_imagenetv2.py gives the accuracy on ImageNet-V2 and R_V2, its '
        'ratio to the clean accuracy',
    )
    parser.add_argument('--verbose', action='store_true', help="also show MMEngine's log")
    add_common_options(parser)
    return parser


if __name__ == '__main__':
    sys.exit(main())
