"""The work of ``adasap-make-voc-c``: build a corrupted benchmark, such as VOC-C, and check it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from adasap_det.cli.usage import UsageError
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
from adasap_det.robustness.benchmark.disk import format_size
from adasap_det.robustness.benchmark.options import IMAGENET_C
from adasap_det.robustness.benchmark.progress import format_duration
from adasap_det.robustness.benchmark.source_images import folder_name
from adasap_det.utils.plural import counted

_SHOWN = 20
_IMAGENET_C = 'imagenet-c'


def run(args: argparse.Namespace) -> int:
    """Build or verify; returns the exit status."""
    try:
        return _verify(args) if args.verify else _build(args)
    except BenchmarkError as error:
        raise UsageError(str(error)) from error


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
