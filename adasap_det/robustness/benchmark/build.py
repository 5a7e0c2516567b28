"""Build, resume and repair a corrupted benchmark."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import cv2
import torch

from adasap_det.robustness.benchmark.errors import BenchmarkError, from_os_error
from adasap_det.robustness.benchmark.executors import InlineExecutor, available_cpus, local_executor
from adasap_det.robustness.benchmark.lock import locked
from adasap_det.robustness.benchmark.options import Options, make_options
from adasap_det.robustness.benchmark.run import BuildReport, BuildRun
from adasap_det.robustness.benchmark.source_images import Source, choose_subset
from adasap_det.utils.plural import counted

ON_ERROR = ('stop', 'skip')


def build_benchmark(
    source: Source,
    out: str | os.PathLike[str],
    *,
    options: Options | None = None,
    subset: int | str | os.PathLike[str] | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    in_flight: int | None = None,
    on_error: str = 'stop',
    copy_annotations: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> BuildReport | None:
    """Corrupt every image of a source with every corruption at every severity.

    Called again with the same options after an interruption, it resumes, and the result is
    identical to the byte. Called on a finished benchmark, it checks every file against the manifest
    and rebuilds missing and damaged ones.

    Args:
        source: From :func:`voc_source`, :func:`coco_source` or :func:`folder_source`.
        out: Folder of the benchmark: new, empty, or a benchmark with the same options; not inside
            an image folder that is the source.
        options: From :func:`make_options`; by default the 15 corruptions of the paper at all five
            severities, as JPEG of quality 95.
        subset: See :func:`choose_subset`.
        workers: Number of processes on this machine, by default one per CPU; 0 for none but the
            calling one.
        executor: Replaces ``workers``, and is left open. Its workers must see the source and
            ``out`` under the same absolute paths.
        in_flight: Maximum number of images submitted to the executor at a time.
        on_error: What to do at an unusable image: ``'stop'``, or ``'skip'`` it and list it.
        copy_annotations: Copy annotations into each cell instead of linking to one copy. This is
            the default where symbolic links are not supported.
        overwrite: Delete an existing benchmark first.
        dry_run: Only estimate files and disk use; write nothing.
        quiet: Show no progress.
        say: Called with messages for the user.

    Returns:
        Summary of the build; None for a dry run.

    Raises:
        BenchmarkError: If the benchmark cannot be built; no file is left half-written.
    """
    options = make_options() if options is None else options
    if on_error not in ON_ERROR:
        raise BenchmarkError(f'on_error {on_error!r} is not one of {", ".join(ON_ERROR)}')
    if options.crop is not None and source.layout != 'folder':
        raise BenchmarkError(
            f'crop does not work with the layout {source.layout!r}: it crops images but not their '
            'boxes; leave it out, or read the images as an image folder'
        )
    out = Path(out).absolute()
    if source.layout == 'folder':
        _check_outside(out, source.root)
    if subset is not None:
        total = len(source.all_ids)
        if isinstance(subset, int) and subset > total:
            say(f'the source has only {counted(total, "image")}, fewer than the subset of {subset}')
        source = choose_subset(source, subset, seed=options.seed)
    threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    number = available_cpus() if workers is None else workers
    opened = contextlib.nullcontext(executor) if executor is not None else local_executor(number)
    try:
        with _locked_folder(out, keep=not dry_run, say=say), opened as pool:
            assert pool is not None
            if in_flight is None:
                in_flight = 4 * number if executor is None else 256
            build = BuildRun(
                source=source,
                out=out,
                options=options,
                pool=pool,
                in_flight=1 if isinstance(pool, InlineExecutor) else max(1, in_flight),
                skip=on_error == 'skip',
                quiet=quiet,
                say=say,
            )
            return build.run(copy=copy_annotations, overwrite=overwrite, dry_run=dry_run)
    except OSError as error:
        raise from_os_error(error, out) from error
    finally:
        cv2.setNumThreads(threads)
        torch.set_num_threads(torch_threads)


def _check_outside(out: Path, root: Path) -> None:
    """Check that the next run would not take the benchmark's images for images of the source.

    An image folder consists of all images below it, except those in hidden folders.
    """
    inner, outer = out.resolve(), root.resolve()
    if inner.is_relative_to(outer) and not any(
        part.startswith('.') for part in inner.relative_to(outer).parts
    ):
        raise BenchmarkError(
            f'{out} is inside the source {root}, so the next run would corrupt the corrupted '
            'images as well; give a folder elsewhere with --out'
        )


@contextlib.contextmanager
def _locked_folder(out: Path, *, keep: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Create and lock the benchmark's folder; delete created folders if they stay empty."""
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out, say=say):
            yield
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            for folder in created:
                with contextlib.suppress(OSError):
                    folder.rmdir()
