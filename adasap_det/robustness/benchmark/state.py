"""State that an earlier run left in the benchmark's folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adasap_det.robustness.benchmark.digests import TEMPORARY
from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.extras import SHARED
from adasap_det.robustness.benchmark.journal import JOURNAL, BuiltImage, read_journal
from adasap_det.robustness.benchmark.lock import LOCK
from adasap_det.robustness.benchmark.manifest import (
    MANIFEST,
    Manifest,
    describe_differences,
    read_manifest,
)
from adasap_det.robustness.corruptions import CORRUPTIONS

# Leftovers of a killed build, and a folder of the file system itself.
_IGNORED = (TEMPORARY, LOCK, 'lost+found')


@dataclass
class State:
    """State of a benchmark folder.

    Attributes:
        identity: Result of :func:`identity` for the existing benchmark; None if there is none.
        software: Versions of the libraries that built it.
        built: Finished images, by image id.
        manifest: Manifest of a finished benchmark.
        version: Version of adasap_det that built it.
    """

    identity: Mapping[str, Any] | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    built: dict[str, BuiltImage] = field(default_factory=dict)
    manifest: Manifest | None = None
    version: str | None = None


def identity(
    source: Mapping[str, str], options: Mapping[str, Any], ids: Iterable[str], *, annotations: str
) -> dict[str, Any]:
    """Return a flat record of everything that must not change between two runs.

    Args:
        source: Description of the source.
        options: Options of the benchmark.
        ids: Ids of all images, including unusable ones.
        annotations: ``'links'``, ``'copies'`` or ``'none'``.
    """
    names = sorted(ids)
    digest = hashlib.sha256('\n'.join(names).encode()).hexdigest()[:12]
    images = f'{len(names)} (checksum of the ids {digest})'
    return {**source, **options, 'images': images, 'annotations of a cell': annotations}


def read_state(out: Path, targets: Mapping[str, str]) -> State:
    """Read the state of a benchmark folder.

    Args:
        out: The folder.
        targets: Image ids of the source, by path in a cell.

    Raises:
        BenchmarkError: If the folder has other content, or its manifest or journal is damaged.
    """
    if (out / MANIFEST).is_file():
        return _finished_state(read_manifest(out), targets)
    if (out / JOURNAL).is_file():
        header, built = read_journal(out / JOURNAL)
        found, software = header.get('identity'), header.get('software')
        if not isinstance(found, dict) or not isinstance(software, dict):
            raise BenchmarkError(f'{out / JOURNAL} is damaged; build again with --overwrite')
        return State(found, software, built, version=header.get('version'))
    others = sorted(path.name for path in out.iterdir() if path.name not in _IGNORED)
    if others:
        raise BenchmarkError(
            f'{out} contains other files ({", ".join(others[:3])}) and is not a benchmark; give an '
            'empty or new folder with --out'
        )
    return State()


def check_same_options(state: State, wanted: Mapping[str, Any], out: Path) -> None:
    """Check that the build is resumed with the same options.

    Raises:
        BenchmarkError: If an option differs.
    """
    if state.identity is None:
        return
    others = describe_differences(state.identity, wanted)
    if others:
        what = 'an unfinished' if state.manifest is None else 'a'
        raise BenchmarkError(
            f'{out} contains {what} benchmark with other options. {"; ".join(others)}. Give the '
            'same options, another folder with --out, or --overwrite to build it again'
        )


def version_differences(state: State, versions: Mapping[str, str]) -> list[str]:
    """Describe which of the recorded versions differ.

    Earlier releases recorded fewer versions, and their builds can be resumed.
    """
    recorded = {name: value for name, value in versions.items() if name in state.software}
    return describe_differences(state.software, recorded)


def check_same_versions(state: State, versions: Mapping[str, str], out: Path) -> None:
    """Check that an unfinished benchmark is resumed with the libraries that began it.

    Raises:
        BenchmarkError: If a version differs.
    """
    others = version_differences(state, versions)
    if others:
        raise BenchmarkError(
            f'{out} was begun with other versions, which may give other bytes. '
            f'{"; ".join(others)} (installed). Resume where those are installed, or build again '
            'with --overwrite'
        )


def check_sources_complete(state: State, problems: Mapping[str, str], out: Path) -> None:
    """Check that the source still has all images that were used.

    Raises:
        BenchmarkError: If one is missing or unusable.
    """
    lost = [name for name in problems if name in state.built]
    if lost:
        raise BenchmarkError(
            f'the source has lost images that {out} was built from. {lost[0]}: '
            f'{problems[lost[0]]}; restore it'
        )


def benchmark_paths(out: Path) -> list[Path]:
    """Return the folders and files of the benchmark in ``out``, its manifest and journal last.

    Raises:
        BenchmarkError: If ``out`` has other content and no benchmark.
    """
    if not (out / MANIFEST).is_file() and not (out / JOURNAL).is_file():
        read_state(out, {})
        return []
    folders = [out / name for name in (*CORRUPTIONS, SHARED, TEMPORARY)]
    files = [out / MANIFEST, out / JOURNAL]
    return [
        *(path for path in folders if path.is_dir() and not path.is_symlink()),
        *(path for path in files if path.is_file()),
    ]


def delete_benchmark(out: Path) -> None:
    """Delete the benchmark in a folder, but no other content.

    The manifest and journal are deleted last, so that an interrupted deletion can be repeated.

    Raises:
        BenchmarkError: If the folder has other content and no benchmark.
    """
    for path in benchmark_paths(out):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _finished_state(manifest: Manifest, targets: Mapping[str, str]) -> State:
    built_images = {image_id: BuiltImage(sha) for image_id, sha in manifest.images.items()}
    for path, digest in manifest.files.items():
        name, level, target = path.split('/', 2)
        # Other images than the source's are detected by the identity.
        built = built_images.get(targets.get(target, ''))
        if built is not None:
            built.files[name, int(level)] = digest
    kind = 'none'
    if manifest.source.get('layout') != 'folder':
        kind = 'links' if manifest.links else 'copies'
    found = identity(
        manifest.source,
        manifest.options,
        [*manifest.images, *manifest.skipped],
        annotations=kind,
    )
    return State(found, manifest.software, built_images, manifest, manifest.version)
