"""``adasap-robustness-report``: compare evaluated models on one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import report_usage_errors

_PROGRAM = 'adasap-robustness-report'


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.robustness_report_command import run  # takes seconds

    return report_usage_errors(_PROGRAM, lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description='Compare evaluated models in one self-contained HTML page, with CSV and JSON.',
    )
    parser.add_argument(
        'results',
        nargs='+',
        metavar='RESULTS',
        help='output folder of adasap-test-robustness, one per model',
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        required=True,
        help='output folder for report.html, report.csv and report.json',
    )
    parser.add_argument(
        '--title', default='Robustness report', help='page title (default: %(default)s)'
    )
    parser.add_argument(
        '--metric', help='metric to report (default: the first one in the results, AP50 or top1)'
    )
    parser.add_argument(
        '--baseline',
        metavar='NAME',
        help='model that the others are compared with (default: the first)',
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
