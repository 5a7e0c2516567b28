"""``adasap-train``: train, prune and fine-tune a model according to its config."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.openmp import let_threads_sleep
from adasap_det.cli.usage import add_common_options, report_usage_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    note = let_threads_sleep()
    from adasap_det.cli.train_command import run  # takes seconds

    return report_usage_errors('adasap-train', lambda: run(args, note=note))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-train',
        description='Train, prune and fine-tune a model according to its config.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/<config>)'
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate from the config's batch size to the one in use",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint; by default the newest readable one in the work dir',
    )
    add_common_options(parser)
    return parser


if __name__ == '__main__':
    sys.exit(main())
