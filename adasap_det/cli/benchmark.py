"""``adasap-benchmark``: latency and throughput of checkpoints, in alternation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import add_common_options, report_usage_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.benchmark_command import run  # takes seconds

    return report_usage_errors('adasap-benchmark', lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-benchmark',
        description='Time checkpoints of one config, dense and pruned, taking turns. The '
        'network with its normalisation is timed, without decoding and NMS.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument('checkpoints', nargs='+', help='files; the first is what others relate to')
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=('eager', 'channels-last', 'bf16', 'int8', 'compile', 'export', 'onnxruntime'),
        default=['eager', 'onnxruntime'],
        help='ways to run them (default: eager onnxruntime)',
    )
    parser.add_argument(
        '--batch-sizes', nargs='+', type=int, default=[1], metavar='N', help='images at a time'
    )
    parser.add_argument(
        '--input-size', nargs=2, type=int, metavar=('H', 'W'), help="pixels (default: the config's)"
    )
    parser.add_argument('--seconds', type=float, default=10.0, help='for each way of running (10)')
    parser.add_argument(
        '--device',
        default='cpu',
        help='cpu (default) or cuda, for PyTorch; onnxruntime runs on the CPU in any case',
    )
    parser.add_argument('--out', metavar='FILE.json', help='write the numbers too')
    add_common_options(parser)
    parser.set_defaults(work_dir='')
    return parser


if __name__ == '__main__':
    sys.exit(main())
