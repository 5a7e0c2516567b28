"""``adasap-make-voc-c``: build a corrupted benchmark, such as VOC-C, and check it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from adasap_det.cli.common import UsageError, report_usage_errors
from adasap_det.robustness.benchmark import (
    BenchmarkError,
    BuildReport,
    Options,
    Source,
    build_benchmark,
    coco_source,
    dask_executor,
    folder_source,
    make_options,
    verify_benchmark,
    voc_source,
)
from adasap_det.robustness.benchmark.build import ON_ERROR
from adasap_det.robustness.benchmark.disk import format_size
from adasap_det.robustness.benchmark.options import FORMATS, IMAGENET_C, SUBSAMPLINGS
from adasap_det.robustness.benchmark.progress import format_duration
from adasap_det.robustness.benchmark.source_images import LAYOUTS, folder_name
from adasap_det.utils.plural import counted

_PROGRAM = 'adasap-make-voc-c'
_SHOWN = 20
_IMAGENET_C = 'imagenet-c'
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
    outcome = [0]

    def command() -> None:
        try:
            outcome[0] = _verify(args) if args.verify else _build(args)
        except BenchmarkError as error:
            raise UsageError(str(error)) from error

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
        choices=(*LAYOUTS, _IMAGENET_C),
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
        choices=FORMATS,
        default='jpg',
        help='format of the images (default: %(default)s)',
    )
    what.add_argument(
        '--quality', type=int, help='JPEG quality, 1 to 100 (default: 95; 85 for imagenet-c)'
    )
    what.add_argument(
        '--subsampling',
        choices=SUBSAMPLINGS,
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
        choices=ON_ERROR,
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


def _source(args: argparse.Namespace) -> Source:
    if args.layout != 'coco' and (args.annotations or args.images):
        raise UsageError('--annotations and --images require --layout coco')
    if args.layout == 'voc':
        return voc_source(_voc_root(args), year=args.year, split=args.split)
    if args.source is None:
        raise UsageError(f'--layout {args.layout} requires --source, the folder of the data set')
    if args.layout in ('folder', _IMAGENET_C):
        return folder_source(args.source)
    if not args.annotations or not args.images:
        raise UsageError(
            '--layout coco requires --annotations and --images, such as --annotations '
            'annotations/instances_val2017.json --images val2017'
        )
    return coco_source(args.source, annotations=args.annotations, images=args.images)


def _voc_root(args: argparse.Namespace) -> str:
    return args.source or os.environ.get('VOC_ROOT') or os.path.join('data', 'VOCdevkit')


def _out(args: argparse.Namespace) -> Path:
    if args.out is not None:
        return Path(args.out)
    if args.layout == 'voc':
        root = Path(_voc_root(args))
        inside = (root / 'JPEGImages').is_dir()
        return Path('data') / f'{folder_name(root) if inside else f"VOC{args.year}"}-C'
    coco_folder = args.layout == 'coco' and args.images != '.'
    name = args.images if coco_folder else args.source
    if not name:
        raise UsageError('pass the output folder with --out')
    return Path('data') / f'{folder_name(name)}-C'


def _options(args: argparse.Namespace) -> Options:
    imagenet_c = args.layout == _IMAGENET_C
    quality, crop = args.quality, args.crop
    if quality is None:
        quality = IMAGENET_C['quality'] if imagenet_c else 95
    if crop is None and imagenet_c:
        crop = IMAGENET_C['crop']
    return make_options(
        corruptions=args.corruptions,
        severities=args.severities,
        format=args.format,
        quality=quality,
        subsampling=args.subsampling,
        seed=args.seed,
        crop=crop,
        imagenet_c=imagenet_c,
    )


def _build(args: argparse.Namespace) -> int:
    options = _options(args)
    if args.dask is not None and args.workers is not None:
        raise UsageError('pass either --workers or --dask, not both')
    subset = args.subset
    if subset is not None:
        with contextlib.suppress(ValueError):
            subset = int(subset)
    source, out = _source(args), _out(args)
    cluster = contextlib.nullcontext() if args.dask is None else dask_executor(args.dask)
    with cluster as executor:
        report = build_benchmark(
            source,
            out,
            options=options,
            subset=subset,
            workers=args.workers,
            executor=executor,
            on_error=args.on_error,
            copy_annotations=args.copy_annotations,
            overwrite=args.overwrite,
            dry_run=args.dry_run,
            quiet=args.quiet,
            say=lambda text: print(text, flush=True),
        )
    if report is None:
        return 0
    _summarise(report)
    return 1 if report.skipped else 0


def _summarise(report: BuildReport) -> None:
    size, time = format_size(report.size), format_duration(report.seconds)
    print(
        f'{report.out}: {counted(report.cells, "cell")} of {counted(report.images, "image")}, '
        f'{size}; {counted(report.built, "image")} built in {time}'
    )
    if report.skipped:
        skipped = counted(len(report.skipped), 'image')
        print(f'{skipped} skipped, listed in manifest.json:', file=sys.stderr)
        _print_some([f'{name}: {text}' for name, text in report.skipped.items()])
    print('evaluate it with')
    print(f'  python tools/test_robustness.py CONFIG CHECKPOINT --benchmark {report.out}')


def _verify(args: argparse.Namespace) -> int:
    out = _out(args)
    cluster = contextlib.nullcontext() if args.dask is None else dask_executor(args.dask)
    with cluster as executor:
        report = verify_benchmark(out, workers=args.workers, executor=executor, quiet=args.quiet)
    if report.good:
        print(f'{out}: all {report.files} files match their checksums')
        return 0
    print(
        f'{out}: {counted(len(report.missing), "file")} missing and {len(report.damaged)} damaged '
        f'of {report.files}; run the build again with the same options, without '
        '--verify, to repair them',
        file=sys.stderr,
    )
    complaints = [f'missing: {path}' for path in report.missing]
    _print_some(complaints + [f'damaged: {path}' for path in report.damaged])
    return 1


def _print_some(lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        print(f'  {line}', file=sys.stderr)
    if len(lines) > _SHOWN:
        print(f'  and {len(lines) - _SHOWN} more', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
