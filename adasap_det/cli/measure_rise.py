"""``adasap-measure-rise``: how far perturbations of several sizes raise the loss of a network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import add_common_options, report_usage_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.measure_rise_command import run  # takes seconds

    return report_usage_errors('adasap-measure-rise', lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-measure-rise',
        description='Print how far perturbations of several radii raise the loss of a trained '
        'network on training batches, beside what the gradient predicts. Nothing is trained. '
        "optim_wrapper.rise and uniform_rise choose the radius by this rise, so it doesn't have "
        'to be known: this shows it.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument('checkpoint', help='file, dense or pruned')
    parser.add_argument('--radii', nargs='+', type=float, help='in place of the usual ones')
    parser.add_argument(
        '--form', choices=('sam', 'asam'), default='asam', help='of the perturbation (asam)'
    )
    parser.add_argument(
        '--radius-map',
        choices=('rank', 'linear', 'layer'),
        default='rank',
        help='of the channels (rank)',
    )
    parser.add_argument(
        '--input-size', nargs=2, type=int, metavar=('H', 'W'), help="pixels (default: the config's)"
    )
    parser.add_argument('--batches', type=int, default=3, help='training batches (3)')
    parser.add_argument('--seed', type=int, default=0, help='of the data (0)')
    parser.add_argument('--work-dir', metavar='DIR', help='folder of the log')
    add_common_options(parser)
    return parser


if __name__ == '__main__':
    sys.exit(main())
