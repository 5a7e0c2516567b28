"""``adasap-test``: evaluate a dense or a pruned checkpoint with any config."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import add_common_options, report_usage_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.test_command import run  # takes seconds

    return report_usage_errors('adasap-test', lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-test', description='Evaluate a dense or a pruned checkpoint.'
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--work-dir', help='folder for the metrics (default: work_dirs/<config>)')
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to a pickle file')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir',
        help='folder for images with predictions, inside <work dir>/<time stamp>; for a classifier '
        'relative to the current folder',
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds to show each image (default: 2)'
    )
    parser.add_argument(
        '--tta', action='store_true', help="test-time augmentation: the config's, else flips"
    )
    add_common_options(parser)
    return parser


if __name__ == '__main__':
    sys.exit(main())
