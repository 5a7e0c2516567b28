"""Builds, resumes and repairs a corrupted benchmark."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import cv2
import torch

from adasap_det.robustness.benchmark.errors import BenchmarkError, from_os_error
from adasap_det.robustness.benchmark.executors import InlineExecutor, local_executor, processors
from adasap_det.robustness.benchmark.lock import locked
from adasap_det.robustness.benchmark.options import Options, make_options
from adasap_det.robustness.benchmark.run import BuildReport, BuildRun
from adasap_det.robustness.benchmark.source_images import Source, choose_subset

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
    """Write every image of a source with every corruption at every severity.

    Called again after any interruption with the same options it resumes; the result
    is the same to the byte. Called on a finished benchmark it checks every file against the
    manifest and makes anew those that are missing or damaged.

    Args:
        source: From :func:`voc_source`, :func:`coco_source` or :func:`folder_source`.
        out: Folder of the benchmark: new, empty, or a benchmark of the same options; not inside an
            image folder that is the source.
        options: From :func:`make_options`; by default the 15 corruptions of the paper at all five
            severities, as JPEG of quality 95.
        subset: See :func:`choose_subset`.
        workers: Number of processes on this machine, by default one a processor; 0 works here.
        executor: Does the work instead, and is left open. Its workers must see source and ``out``
            under the same absolute paths.
        in_flight: How many images are with the executor at most.
        on_error: At an image that cannot be used: ``'stop'``, or ``'skip'`` it and list it.
        copy_annotations: Copy annotations into each cell instead of linking to one copy. That is
            done anyway where there are no links.
        overwrite: Delete a benchmark that is there.
        dry_run: Say what would be needed, and write nothing.
        quiet: No progress.
        say: Gets lines for the user.

    Returns:
        What was done; None for a dry run.

    Raises:
        BenchmarkError: If something is in the way; nothing is half-written then.
    """
    options = make_options() if options is None else options
    if on_error not in ON_ERROR:
        raise BenchmarkError(f'on_error {on_error!r} is not one of {", ".join(ON_ERROR)}')
    if options.crop is not None and source.layout != 'folder':
        raise BenchmarkError(
            f'crop crops images but no boxes, so it does not work with the layout '
            f'{source.layout!r}; leave it out, or read the images as an image folder'
        )
    out = Path(out).absolute()
    if source.layout == 'folder':
        _require_outside(out, source.root)
    if subset is not None:
        source = choose_subset(source, subset, seed=options.seed)
    threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    number = processors() if workers is None else workers
    given = contextlib.nullcontext(executor) if executor is not None else local_executor(number)
    try:
        with _folder(out, keep=not dry_run, say=say), given as pool:
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


def _require_outside(out: Path, root: Path) -> None:
    """An image folder's images are all that lie below it, but for those in hidden folders."""
    place, below = out.resolve(), root.resolve()
    if place.is_relative_to(below) and not any(
        part.startswith('.') for part in place.relative_to(below).parts
    ):
        raise BenchmarkError(
            f'{out} is inside the source {root}, whose images are all below it: the next run would '
            'corrupt the corrupted ones as well; give a folder elsewhere with --out'
        )


@contextlib.contextmanager
def _folder(out: Path, *, keep: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Make the benchmark's folder and hold it; leave none behind that got nothing."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out, say=say):
            yield
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
