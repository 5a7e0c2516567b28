"""The work of ``adasap-robustness-report``: compare evaluated models on one page."""

from __future__ import annotations

import argparse

from adasap_det.cli.usage import UsageError
from adasap_det.robustness.report.write import write_report
from adasap_det.robustness.results import load_results


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
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
