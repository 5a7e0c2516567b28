"""``adasap-robustness-report``: compare evaluated models on one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.common import UsageError, report_usage_errors
from adasap_det.robustness.report.write import TITLE, write_report
from adasap_det.robustness.results import load_results

_PROGRAM = 'adasap-robustness-report'


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    return report_usage_errors(_PROGRAM, lambda: _report(args))


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
    parser.add_argument('--title', default=TITLE, help='page title (default: %(default)s)')
    parser.add_argument(
        '--metric', help='metric to report (default: the first one in the results, AP50 or top1)'
    )
    parser.add_argument(
        '--baseline',
        metavar='NAME',
        help='model that the others are compared with (default: the first)',
    )
    return parser


def _report(args: argparse.Namespace) -> None:
    try:
        page = write_report(
            [load_results(folder) for folder in args.results],
            args.out,
            title=args.title,
            metric=args.metric,
            baseline=args.baseline,
        )
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    print(page)


if __name__ == '__main__':
    sys.exit(main())
