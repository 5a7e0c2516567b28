"""``adasap-plot-landscape``: how sharp the minima of checkpoints are, side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import add_common_options, report_usage_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.plot_landscape_command import run  # takes seconds

    return report_usage_errors('adasap-plot-landscape', lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-plot-landscape',
        description='Compare the loss around the weights of checkpoints of one config, pruned ones '
        'among them, along random directions that are normalised by filter, and the largest '
        'eigenvalue of the Hessian. Writes landscape.json and landscape.svg.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument('checkpoints', nargs='+', help='files, dense or pruned')
    parser.add_argument('--names', nargs='+', help="of the checkpoints (default: the files')")
    parser.add_argument(
        '--radius',
        type=float,
        default=1.0,
        help="longest step; 1 is as long as each filter's weights (1)",
    )
    parser.add_argument('--points', type=int, default=21, help='steps from -radius to radius (21)')
    parser.add_argument('--directions', type=int, default=3, help='random directions (3)')
    parser.add_argument(
        '--plane',
        action='store_true',
        help='contour maps over the first two directions too, points * points evaluations each: '
        'landscape_plane.svg',
    )
    parser.add_argument(
        '--batches', type=int, default=4, help='training batches that the loss is the mean of (4)'
    )
    parser.add_argument(
        '--eigenvalue',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='the largest eigenvalue of the Hessian; needs operators with second derivatives',
    )
    parser.add_argument(
        '--iterations',
        type=int,
        default=20,
        help='at most, for the eigenvalue; as many again where it is negative or unclear (20)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of data and directions (0)')
    parser.add_argument(
        '--out',
        '--work-dir',
        dest='work_dir',
        metavar='DIR',
        help='folder of the results (default: work_dirs/<config>)',
    )
    add_common_options(parser)
    return parser


if __name__ == '__main__':
    sys.exit(main())
