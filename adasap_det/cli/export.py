"""``adasap-export``: a dense or pruned checkpoint as an ONNX file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import add_common_options, report_usage_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.export_command import run  # takes seconds

    return report_usage_errors('adasap-export', lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-export',
        description='Write a dense or a pruned checkpoint as an ONNX file, and check it against '
        'PyTorch in onnxruntime. Its input is pixels, 0 to 255, in the order of channels that the '
        'config loads; the normalisation is part of the graph.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('output', help='ONNX file to write')
    parser.add_argument(
        '--nms',
        action='store_true',
        help='decode and suppress boxes in the graph',
    )
    parser.add_argument(
        '--input-size', nargs=2, type=int, metavar=('H', 'W'), help="pixels (default: the config's)"
    )
    parser.add_argument('--opset', type=int, default=17, help='operator set (17)')
    parser.add_argument(
        '--dynamic-batch', action='store_true', help='leave the number of images open'
    )
    parser.add_argument('--image', metavar='FILE', help='image to check with (default: noise)')
    add_common_options(parser)
    parser.set_defaults(work_dir='')
    return parser


if __name__ == '__main__':
    sys.exit(main())
