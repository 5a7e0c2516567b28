"""``adasap-make-voc-c``: build a corrupted benchmark, such as VOC-C, and check it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from adasap_det.cli.usage import report_usage_errors

_PROGRAM = 'adasap-make-voc-c'

_EPILOG = """\
An interrupted build resumes when it is run again with the same options, and the result is
byte-identical. On a finished benchmark, the same command checks every file and rebuilds those that
are missing or damaged.

Each OUT/<corruption>/<severity> is a data set in the layout of the source; MMDetection reads it
with data_root='OUT/fog/3/'. Images are decoded as by MMDetection's LoadImageFromFile, corrupted in
RGB and stored by default as JPEG of quality 95, 4:2:0. PNG stores exactly what
on-the-fly corruption gives. In the VOC layout, a PNG file is also named <id>.jpg, the name that VOC
loaders look for; they detect the format from the content.

exit status: 0 complete; 1 complete except for the listed skips, or --verify found damage; 2 error
(reported, no partial files); 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    from adasap_det.cli.make_voc_c_command import run  # takes seconds

    outcome = [0]

    def command() -> None:
        outcome[0] = run(args)

    try:
        return report_usage_errors(_PROGRAM, command) or outcome[0]
    except KeyboardInterrupt:
        print(f'{_PROGRAM}: interrupted; run the same command again to resume', file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description='Build a corrupted benchmark: VOC-C, COCO-C, or of any folder of images.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_argument_group('source')
    source.add_argument(
        '--source',
        metavar='DIR',
        help='clean data set; for VOC the folder of VOC2007 (default: $VOC_ROOT or data/VOCdevkit)',
    )
    source.add_argument(
        '--layout',
        choices=('voc', 'coco', 'folder', 'imagenet-c'),
        default='voc',
        help='layout of the source (default: %(default)s). imagenet-c reads a folder like folder '
        'and builds ImageNet-C: center crops of 224 pixels, its elastic transform and frost, JPEG '
        'of quality 85',
    )
    source.add_argument(
        '--year',
        default='2007',
        help='year of VOC to read, as in the folder VOC2007 (default: %(default)s)',
    )
    source.add_argument(
        '--split',
        default='test',
        help='name of the list in ImageSets/Main of VOC (default: %(default)s)',
    )
    source.add_argument(
        '--annotations',
        metavar='FILE.json',
        help='COCO annotations, relative to --source or to the working directory',
    )
    source.add_argument('--images', metavar='DIR', help='COCO image folder, relative to --source')
    source.add_argument(
        '--subset',
        metavar='N|FILE',
        help='only N images, sampled with --seed, or those whose ids FILE lists, one per line',
    )
    what = parser.add_argument_group('benchmark')
    what.add_argument(
        '--out', metavar='DIR', help='output folder (default: data/<name of the image folder>-C)'
    )
    what.add_argument(
        '--corruptions',
        nargs='+',
        default=['benchmark'],
        metavar='NAME',
        help='names, families (noise, blur, weather, digital), or benchmark (the 15 of the paper), '
        'validation (the 4 held out), all (default: benchmark)',
    )
    what.add_argument(
        '--severities',
        nargs='+',
        type=int,
        default=[1, 2, 3, 4, 5],
        metavar='S',
        help='severities to build, from 1 to 5 (default: 1 2 3 4 5)',
    )
    what.add_argument(
        '--format',
        choices=('jpg', 'png'),
        default='jpg',
        help='format of the images (default: %(default)s)',
    )
    what.add_argument(
        '--quality', type=int, help='JPEG quality, 1 to 100 (default: 95; 85 for imagenet-c)'
    )
    what.add_argument(
        '--subsampling',
        choices=('4:2:0', '4:2:2', '4:4:4'),
        default='4:2:0',
        help='JPEG chroma subsampling (default: %(default)s)',
    )
    what.add_argument(
        '--crop',
        type=int,
        metavar='SIDE',
        help='corrupt a center crop (default: full images; 224 for imagenet-c)',
    )
    what.add_argument('--seed', type=int, default=0, help='random seed (default: %(default)s)')
    what.add_argument(
        '--copy-annotations',
        action='store_true',
        help='copy annotations into each cell instead of linking to one copy',
    )
    how = parser.add_argument_group('run')
    how.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='worker processes (default: one per CPU; 0: run in this process)',
    )
    how.add_argument(
        '--dask',
        metavar='ADDRESS',
        help='Dask scheduler, such as tcp://host:8786, or its scheduler file; the workers must see '
        'the source and --out under the same paths',
    )
    how.add_argument(
        '--on-error',
        choices=('stop', 'skip'),
        default='stop',
        help='what to do with an unusable image (default: %(default)s)',
    )
    how.add_argument(
        '--overwrite', action='store_true', help='delete an existing benchmark in --out first'
    )
    how.add_argument(
        '--dry-run',
        action='store_true',
        help='print the required disk space and exit without writing',
    )
    how.add_argument('--quiet', action='store_true', help='show no progress')
    how.add_argument(
        '--verify',
        action='store_true',
        help='only check the benchmark in --out against its checksums',
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
