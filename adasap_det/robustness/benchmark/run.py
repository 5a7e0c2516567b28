"""One run of a build: find the missing files, build them, and write the manifest."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from adasap_det.robustness.benchmark.digests import TEMPORARY, supports_symlinks, write_file
from adasap_det.robustness.benchmark.disk import (
    check_free_space,
    estimate_disk,
    size_on_disk,
    used_space,
)
from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.extras import plan_extras, write_extras
from adasap_det.robustness.benchmark.image_codec import with_suffix
from adasap_det.robustness.benchmark.journal import JOURNAL, BuiltImage, Journal, start_journal
from adasap_det.robustness.benchmark.manifest import (
    KIND,
    MANIFEST,
    SCHEMA,
    Manifest,
    manifest_bytes,
)
from adasap_det.robustness.benchmark.options import Options, software
from adasap_det.robustness.benchmark.progress import ProgressReport
from adasap_det.robustness.benchmark.scheduling import map_bounded
from adasap_det.robustness.benchmark.source_images import (
    Source,
    SourceImage,
    check_problems,
    duplicates,
)
from adasap_det.robustness.benchmark.state import (
    State,
    benchmark_paths,
    check_same_options,
    check_same_versions,
    check_sources_complete,
    delete_benchmark,
    identity,
    read_state,
    version_differences,
)
from adasap_det.robustness.benchmark.verify import check_clean_images, find_bad_files
from adasap_det.robustness.benchmark.worker import ImageResult, ImageTask, build_image, cell_path
from adasap_det.utils.plural import counted


@dataclass(frozen=True)
class BuildReport:
    """Summary of a build.

    Attributes:
        out: Folder of the benchmark.
        images: Number of images in each cell.
        cells: Number of cells.
        built: Number of images built in this run; the others existed.
        skipped: Why an image was left out, by image id.
        size: Total size of the files in bytes.
        seconds: Duration of this run.
    """

    out: Path
    images: int
    cells: int
    built: int
    skipped: Mapping[str, str]
    size: int
    seconds: float


@dataclass
class BuildRun:
    """One run; for the fields see the arguments of :func:`build_benchmark`."""

    source: Source
    out: Path
    options: Options
    pool: Executor
    in_flight: int
    skip: bool
    quiet: bool
    say: Callable[[str], None]
    skipped: dict[str, str] = field(default_factory=dict)

    def run(self, *, copy: bool, overwrite: bool, dry_run: bool) -> BuildReport | None:
        """Build; for arguments and result see :func:`build_benchmark`."""
        start = time.monotonic()
        images = {image.image_id: image for image in self.source.images}
        targets = self._targets()
        if not self.skip:
            check_problems(self.source)
        self.skipped.update(self.source.problems)
        freed = None
        if overwrite and dry_run:
            freed = used_space(benchmark_paths(self.out))
        elif overwrite:
            delete_benchmark(self.out)
        by_target = {target: name for name, target in targets.items()}
        state = State() if overwrite else read_state(self.out, by_target)
        kind = self._annotations_kind(state, copy=copy)
        wanted = identity(
            self.source.description,
            self.options.to_json(),
            self.source.all_ids,
            annotations=kind,
        )
        check_same_options(state, wanted, self.out)
        versions = software()
        if state.identity is not None and state.manifest is None:
            check_same_versions(state, versions, self.out)
        check_sources_complete(state, self.source.problems, self.out)
        check_clean_images(
            state.built, {name: image.path for name, image in images.items()}, self.out, self.pool,
            in_flight=self.in_flight, quiet=self.quiet,
        )  # fmt: skip

        bad = find_bad_files(
            state.built, targets, self.out, self.pool, in_flight=self.in_flight, quiet=self.quiet
        )
        tasks = self._tasks(images, targets, state, bad, versions)
        self._print_plan(state, tasks, bad)
        extra = self._annotations_size(kind) if state.manifest is None else 0
        needed = estimate_disk(self.pool, tasks, extra=extra)
        self.say(check_free_space(self.out, needed, freed=freed))
        if dry_run:
            return None

        (self.out / TEMPORARY).mkdir(exist_ok=True)
        if state.identity is None:
            header = {'kind': KIND, 'schema': SCHEMA, 'version': _version()}
            start_journal(self.out, {**header, 'identity': wanted, 'software': versions})
        with (
            ProgressReport('building', len(tasks), quiet=self.quiet) as progress,
            contextlib.closing(self._build_images(tasks, state)) as results,
        ):
            for result in results:
                self._record(result, images, state)
                progress.advance()
        manifest = self._finish(images, targets, state, versions, links=kind == 'links')
        return BuildReport(
            out=self.out,
            images=len(manifest.images),
            cells=len(self.options.cells),
            built=sum(task.image_id in state.built for task in tasks),
            skipped=dict(manifest.skipped),
            size=manifest.size,
            seconds=time.monotonic() - start,
        )

    def _targets(self) -> dict[str, str]:
        """Return the path in a cell of each image, by image id."""
        targets = {
            # VOC's loaders read <id>.jpg and decode it by content, also if it is a PNG.
            image.image_id: image.target
            if self.source.layout == 'voc'
            else with_suffix(image.target, self.options.format)
            for image in self.source.images
        }
        # './a' and 'a' are the same file.
        twice = duplicates(str(PurePosixPath(target)) for target in targets.values())
        if twice:
            raise BenchmarkError(
                f'two images of the source would both become {twice[0]}; rename one of them'
            )
        return targets

    def _annotations_size(self, kind: str) -> int:
        sizes = [
            image.annotation.stat().st_size for image in self.source.images if image.annotation
        ]
        total = sum(size_on_disk(size) for size in [*sizes, len(self.source.annotation_bytes)])
        return total * (len(self.options.cells) if kind == 'copies' else 1)

    def _annotations_kind(self, state: State, *, copy: bool) -> str:
        if self.source.layout == 'folder':
            return 'none'
        if copy:
            return 'copies'
        if state.identity is not None:
            return 'links' if state.identity.get('annotations of a cell') != 'copies' else 'copies'
        created = not (self.out / TEMPORARY).exists()
        (self.out / TEMPORARY).mkdir(exist_ok=True)
        supported = supports_symlinks(self.out)
        if created:
            (self.out / TEMPORARY).rmdir()
        if not supported:
            self.say(
                f'{self.out} does not support symbolic links: each cell gets a copy of annotations'
            )
        return 'links' if supported else 'copies'

    def _tasks(
        self,
        images: Mapping[str, SourceImage],
        targets: Mapping[str, str],
        state: State,
        bad: Mapping[str, set[tuple[str, int]]],
        versions: Mapping[str, str],
    ) -> list[ImageTask]:
        tasks = []
        for name, image in images.items():
            built = state.built.get(name)
            existing = set() if built is None else built.files.keys() - bad.get(name, set())
            cells = tuple(cell for cell in self.options.cells if cell not in existing)
            if cells:
                tasks.append(
                    ImageTask(
                        out=str(self.out),
                        image_id=name,
                        source=str(image.path.absolute()),
                        target=targets[name],
                        options=self.options,
                        cells=cells,
                        software=tuple(versions.items()),
                        source_sha256=None if built is None else built.source_sha256,
                    )
                )
        return tasks

    def _print_plan(self, state: State, tasks: list[ImageTask], bad: Mapping[str, object]) -> None:
        cells = len(self.options.cells)
        total = len(self.source.images)
        factors = (
            counted(total, 'image'),
            counted(len(self.options.corruptions), 'corruption'),
            counted(len(self.options.severities), 'severity'),
        )
        self.say(f'{" x ".join(factors)} = {counted(total * cells, "file")} in {self.out}')
        if state.identity is not None:
            lost = f' ({len(bad)} with missing or damaged files)' if bad else ''
            self.say(f'images that exist: {len(state.built)}{lost}; to build: {len(tasks)}')
        if tasks:
            self.say('estimating disk space')

    def _build_images(
        self, tasks: list[ImageTask], state: State
    ) -> Generator[ImageResult, None, None]:
        # Repairing a finished benchmark needs no journal: the manifest lists its files.
        with contextlib.ExitStack() as stack:
            journal = None
            if state.manifest is None:
                journal = stack.enter_context(Journal(self.out / JOURNAL))
            # Closed as soon as the caller stops, so that nothing is written after that.
            results = map_bounded(self.pool, build_image, tasks, in_flight=self.in_flight)
            for result in stack.enter_context(contextlib.closing(results)):
                if journal is not None and result.problem is None:
                    journal.add(result)
                yield result

    def _record(self, result: ImageResult, images: Mapping[str, SourceImage], state: State) -> None:
        name = result.image_id
        if result.problem is not None:
            text = f'{images[name].path}: {result.problem}'
            if name in state.built:
                raise BenchmarkError(f'{text}; {self.out} was built from it before: restore it')
            if not self.skip:
                raise BenchmarkError(f'{text}; repair it, or leave it out with --on-error skip')
            self.skipped[name] = result.problem
            return
        built = state.built.setdefault(name, BuiltImage(result.source_sha256))
        for cell, digest in result.files.items():
            if built.files.get(cell, digest) != digest:
                others = version_differences(state, software()) or [
                    'the recorded versions are the same; the processor may be of another kind'
                ]
                raise BenchmarkError(
                    f'{name}, {cell[0]} {cell[1]}, has other bytes than before '
                    f'({"; ".join(others)}); resume on the machine or with the versions that built '
                    'it, or build again with --overwrite'
                )
        built.files.update(result.files)

    def _finish(
        self,
        images: Mapping[str, SourceImage],
        targets: Mapping[str, str],
        state: State,
        versions: Mapping[str, str],
        *,
        links: bool,
    ) -> Manifest:
        kept = [name for name in images if name in state.built]
        if not kept:
            raise BenchmarkError(f'no image of {self.source.root} can be used')
        plan = plan_extras(
            self.source, kept, self.options.cells, format=self.options.format, links=links
        )
        digests = write_extras(self.out, plan)
        manifest = Manifest(
            version=state.version or _version(),
            software=versions if state.identity is None else state.software,
            source=self.source.description,
            options=self.options.to_json(),
            images={name: state.built[name].source_sha256 for name in kept},
            skipped=dict(sorted(self.skipped.items())),
            files={
                cell_path(cell, targets[name]): state.built[name].files[cell]
                for name in kept
                for cell in self.options.cells
            },
            annotations=digests,
            links=plan.links,
        )
        data = manifest_bytes(manifest)
        file = self.out / MANIFEST
        if not file.is_file() or file.read_bytes() != data:
            write_file(self.out, MANIFEST, data, durable=True)
        (self.out / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(self.out / TEMPORARY)
        return manifest


def _version() -> str:
    from adasap_det import __version__

    return __version__
