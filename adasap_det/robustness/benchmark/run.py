"""One run of a build: existing images, missing images, and the manifest at the end."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from adasap_det.robustness.benchmark.digests import TEMPORARY, links_work, write_whole
from adasap_det.robustness.benchmark.disk import estimate, on_disk, require_room, taken
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
from adasap_det.robustness.benchmark.scheduling import results
from adasap_det.robustness.benchmark.source_images import (
    Source,
    SourceImage,
    check_problems,
    repeated,
)
from adasap_det.robustness.benchmark.state import (
    State,
    belongings,
    erase,
    identity,
    other_versions,
    read_state,
    require_same,
    require_sources,
    require_versions,
)
from adasap_det.robustness.benchmark.verify import check_clean, check_state
from adasap_det.robustness.benchmark.worker import ImageResult, ImageTask, build_image, cell_path


@dataclass(frozen=True)
class BuildReport:
    """What a build has done.

    Attributes:
        out: The benchmark.
        images: Images in each cell.
        cells: Number of cells.
        built: Images worked on in this run; the others were there.
        skipped: Why an image was left out, by image id.
        size: Bytes of all files.
        seconds: This run took.
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
    """One run; fields as the arguments of :func:`build_benchmark`."""

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
        """Do it; arguments and result as :func:`build_benchmark` has them."""
        start = time.monotonic()
        items = {item.image_id: item for item in self.source.items}
        targets = self._targets()
        if not self.skip:
            check_problems(self.source)
        self.skipped.update(self.source.problems)
        freed = None
        if overwrite and dry_run:
            freed = taken(belongings(self.out))
        elif overwrite:
            erase(self.out)
        by_target = {target: name for name, target in targets.items()}
        state = State() if overwrite else read_state(self.out, by_target)
        kind = self._annotations_kind(state, copy=copy)
        wanted = identity(
            self.source.description,
            self.options.to_json(),
            self.source.all_ids,
            annotations=kind,
        )
        require_same(state, wanted, self.out)
        versions = software()
        if state.identity is not None and state.manifest is None:
            require_versions(state, versions, self.out)
        require_sources(state, self.source.problems, self.out)
        check_clean(
            state.done, {name: item.path for name, item in items.items()}, self.out, self.pool,
            in_flight=self.in_flight, quiet=self.quiet,
        )  # fmt: skip

        bad = check_state(
            state.done, targets, self.out, self.pool, in_flight=self.in_flight, quiet=self.quiet
        )
        tasks = self._tasks(items, targets, state, bad, versions)
        self._announce(state, tasks, bad)
        extra = self._annotations_size(kind) if state.manifest is None else 0
        self.say(require_room(self.out, estimate(self.pool, tasks, extra=extra), freed=freed))
        if dry_run:
            return None

        (self.out / TEMPORARY).mkdir(exist_ok=True)
        if state.identity is None:
            header = {'kind': KIND, 'schema': SCHEMA, 'version': _version()}
            start_journal(self.out, {**header, 'identity': wanted, 'software': versions})
        with (
            ProgressReport('building', len(tasks), quiet=self.quiet) as progress,
            contextlib.closing(self._built(tasks, state)) as built,
        ):
            for result in built:
                self._take(result, items, state)
                progress.advance()
        manifest = self._finish(items, targets, state, versions, links=kind == 'links')
        return BuildReport(
            out=self.out,
            images=len(manifest.images),
            cells=len(self.options.cells),
            built=len(tasks),
            skipped=dict(manifest.skipped),
            size=manifest.size,
            seconds=time.monotonic() - start,
        )

    def _targets(self) -> dict[str, str]:
        """Path in a cell, by image id."""
        targets = {
            # VOC's loaders ask for <id>.jpg and decode what they find, be it a PNG.
            item.image_id: item.target
            if self.source.layout == 'voc'
            else with_suffix(item.target, self.options.format)
            for item in self.source.items
        }
        twice = repeated(targets.values())
        if twice:
            raise BenchmarkError(
                f'two images of the source would both become {twice[0]}; rename one of them'
            )
        return targets

    def _annotations_size(self, kind: str) -> int:
        sizes = [item.annotation.stat().st_size for item in self.source.items if item.annotation]
        once = sum(on_disk(size) for size in [*sizes, len(self.source.annotation_bytes)])
        return once * (len(self.options.cells) if kind == 'copies' else 1)

    def _annotations_kind(self, state: State, *, copy: bool) -> str:
        if self.source.layout == 'folder':
            return 'none'
        if copy:
            return 'copies'
        if state.identity is not None:
            return 'links' if state.identity.get('annotations of a cell') != 'copies' else 'copies'
        made = not (self.out / TEMPORARY).exists()
        (self.out / TEMPORARY).mkdir(exist_ok=True)
        works = links_work(self.out)
        if made:
            (self.out / TEMPORARY).rmdir()
        if not works:
            self.say(f'{self.out} takes no symbolic links: each cell gets a copy of annotations')
        return 'links' if works else 'copies'

    def _tasks(
        self,
        items: Mapping[str, SourceImage],
        targets: Mapping[str, str],
        state: State,
        bad: Mapping[str, set[tuple[str, int]]],
        versions: Mapping[str, str],
    ) -> list[ImageTask]:
        tasks = []
        for name, item in items.items():
            done = state.done.get(name)
            there = set() if done is None else done.files.keys() - bad.get(name, set())
            cells = tuple(cell for cell in self.options.cells if cell not in there)
            if cells:
                tasks.append(
                    ImageTask(
                        out=str(self.out),
                        image_id=name,
                        source=str(item.path.absolute()),
                        target=targets[name],
                        options=self.options,
                        cells=cells,
                        software=tuple(versions.items()),
                        source_sha256=None if done is None else done.source_sha256,
                    )
                )
        return tasks

    def _announce(self, state: State, tasks: list[ImageTask], bad: Mapping[str, object]) -> None:
        cells = len(self.options.cells)
        total = len(self.source.items)
        self.say(
            f'{total} images x {len(self.options.corruptions)} corruptions x '
            f'{len(self.options.severities)} severities = {total * cells} files in {self.out}'
        )
        if state.identity is not None:
            lost = f', {len(bad)} with missing or damaged files' if bad else ''
            self.say(f'{len(state.done)} images exist{lost}; {len(tasks)} to build')

    def _built(self, tasks: list[ImageTask], state: State) -> Generator[ImageResult, None, None]:
        # A finished benchmark under repair needs no journal: its manifest lists what is missing.
        with contextlib.ExitStack() as stack:
            journal = None
            if state.manifest is None:
                journal = stack.enter_context(Journal(self.out / JOURNAL))
            # Closed at once when the caller gives up: nothing is written after that.
            work = results(self.pool, build_image, tasks, in_flight=self.in_flight)
            for result in stack.enter_context(contextlib.closing(work)):
                if journal is not None and result.problem is None:
                    journal.add(result)
                yield result

    def _take(self, result: ImageResult, items: Mapping[str, SourceImage], state: State) -> None:
        name = result.image_id
        if result.problem is not None:
            place = items[name].path.relative_to(self.source.root).as_posix()
            text = f'{place}: {result.problem}'
            if name in state.done:
                raise BenchmarkError(f'{text}; {self.out} was made of it before: restore it')
            if not self.skip:
                raise BenchmarkError(
                    f'{self.source.root / place}: {result.problem}; repair it, or leave it out '
                    f'with '
                    '--on-error skip'
                )
            self.skipped[name] = text
            return
        known = state.done.setdefault(name, BuiltImage(result.source_sha256))
        for cell, stamp in result.files.items():
            if known.files.get(cell, stamp) != stamp:
                others = other_versions(state, software()) or [
                    'the versions on record are the same; the processor may be of another kind'
                ]
                raise BenchmarkError(
                    f'{name}, {cell[0]} {cell[1]}, comes out with other bytes than before '
                    f'({"; ".join(others)}); resume where it was built, or with the versions of '
                    'then, or build again with --overwrite'
                )
        known.files.update(result.files)

    def _finish(
        self,
        items: Mapping[str, SourceImage],
        targets: Mapping[str, str],
        state: State,
        versions: Mapping[str, str],
        *,
        links: bool,
    ) -> Manifest:
        kept = [name for name in items if name in state.done]
        if not kept:
            raise BenchmarkError(f'not one image of {self.source.root} can be used')
        plan = plan_extras(
            self.source, kept, self.options.cells, format=self.options.format, links=links
        )
        stamps = write_extras(self.out, plan)
        manifest = Manifest(
            version=state.version or _version(),
            software=versions if state.identity is None else state.software,
            source=self.source.description,
            options=self.options.to_json(),
            images={name: state.done[name].source_sha256 for name in kept},
            skipped=dict(sorted(self.skipped.items())),
            files={
                cell_path(cell, targets[name]): state.done[name].files[cell]
                for name in kept
                for cell in self.options.cells
            },
            annotations=stamps,
            links=plan.links,
        )
        data = manifest_bytes(manifest)
        place = self.out / MANIFEST
        if not place.is_file() or place.read_bytes() != data:
            write_whole(self.out, MANIFEST, data, durable=True)
        (self.out / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(self.out / TEMPORARY)
        return manifest


def _version() -> str:
    from adasap_det import __version__

    return __version__
