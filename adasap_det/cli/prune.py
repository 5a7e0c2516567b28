"""``adasap-prune``: prune a trained checkpoint at once, or measure each layer's sensitivity."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import add_common_options, report_usage_errors

_IMPORTANCES = (
    'FPGMImportance',
    'LAMPImportance',
    'MagnitudeImportance',
    'NormScaleImportance',
    'RandomImportance',
    'TaylorImportance',
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.prune_command import run  # takes seconds

    return report_usage_errors('adasap-prune', lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-prune',
        description='Prune a trained checkpoint without training. Writes the pruned checkpoint and '
        'a config to test or fine-tune it. With --dry-run it only prints what would be pruned.',
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='trained checkpoint, dense or pruned; --dry-run does without (random weights)',
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        '--keep-ratio',
        nargs='+',
        type=float,
        default=[],
        metavar='RATIO',
        help='ratio that remains, as 0.4; several give several networks, each pruned from the '
        'checkpoint',
    )
    amount.add_argument(
        '--max-cost', metavar='AMOUNT', help="amount that remains, as '8 ms', '3 M'"
    )
    parser.add_argument(
        '--budget',
        choices=('params', 'macs', 'latency'),
        default='params',
        help='what is limited (params)',
    )
    parser.add_argument(
        '--importance',
        metavar='TYPE',
        help="criterion (default: the checkpoint's order of removal, where the elastic stage has "
        f'left one, else MagnitudeImportance): {", ".join(_IMPORTANCES)}',
    )
    parser.add_argument(
        '--prune-blocks',
        action='store_true',
        help='residual blocks and transformer layers may be removed as a whole',
    )
    parser.add_argument(
        '--round-to',
        type=int,
        default=8,
        help='channels are multiples of (8); an order of removal in the checkpoint has its own',
    )
    parser.add_argument(
        '--min-keep-ratio',
        type=float,
        default=0.1,
        help='ratio of each group that always stays (0.1); an order of removal in the checkpoint '
        'has its own',
    )
    parser.add_argument(
        '--keep-ratios',
        nargs='+',
        default=[],
        metavar='PATTERN=RATIO',
        help="ratio of the channels that remains in these layers, as 'backbone.*=0.7'; the others "
        'share what the budget leaves',
    )
    parser.add_argument(
        '--exclude',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help="layers that are not pruned (with an order of removal: those of the config's "
        'PruningHook)',
    )
    parser.add_argument(
        '--input-size',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="pixels (default: of the config's training pipeline)",
    )
    parser.add_argument(
        '--batches',
        type=int,
        default=8,
        help='training batches for an importance that needs gradients and for the sensitivity (8)',
    )
    parser.add_argument(
        '--recalibrate-batches',
        type=int,
        default=0,
        metavar='N',
        help='training batches to re-estimate the batch norm statistics on after pruning, as 40 '
        '(0: they stay those of the network before)',
    )
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images per batch that latency refers to (1)'
    )
    parser.add_argument('--table', metavar='JSON', help='latency table (default: in ~/.cache)')
    parser.add_argument(
        '--device', default='cpu', help='cpu (default) or cuda; latency is that of this device'
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='print what can be pruned, what is skipped and why, and the cost before and after; '
        'write nothing',
    )
    parser.add_argument(
        '--elastic',
        metavar='FILE',
        help='write one file that load_pruned takes any size from, instead of a checkpoint a '
        'size; --keep-ratio are then the sizes that batch norm statistics are stored of (1.0 0.8 '
        '0.6 0.5 0.4 0.3 0.2)',
    )
    parser.add_argument(
        '--evaluate',
        action='store_true',
        help='evaluate each size and the whole network on the validation data: a table, '
        'sizes.json and sizes.svg',
    )
    parser.add_argument(
        '--sensitivity',
        action='store_true',
        help='measure the loss with each group pruned alone: sensitivity.json and sensitivity.svg',
    )
    parser.add_argument(
        '--metric',
        metavar='NAME',
        help="metric on the validation data, as 'pascal_voc/AP50': of --sensitivity instead of "
        'the loss, of --evaluate instead of the first one (fewer images: --cfg-options '
        'val_dataloader.dataset.indices=200)',
    )
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
