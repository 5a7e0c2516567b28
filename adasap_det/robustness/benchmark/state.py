"""The state that an earlier run left in the benchmark's folder."""

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
from adasap_det.robustness.benchmark.manifest import MANIFEST, Manifest, differing, read_manifest
from adasap_det.robustness.corruptions import CORRUPTIONS

# A volume's own folder is nobody's data, nor is the file that a killed build had locked.
_IGNORED = (TEMPORARY, LOCK, 'lost+found')


@dataclass
class State:
    """The state of a benchmark folder.

    Attributes:
        identity: What was being built, as :func:`identity` says it; None if nothing was.
        software: Versions it was built with.
        done: Finished images, by image id.
        manifest: Of a finished benchmark.
        version: Of adasap_det, if something is there.
    """

    identity: Mapping[str, Any] | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    done: dict[str, BuiltImage] = field(default_factory=dict)
    manifest: Manifest | None = None
    version: str | None = None


def identity(
    source: Mapping[str, str], options: Mapping[str, Any], ids: Iterable[str], *, annotations: str
) -> dict[str, Any]:
    """A flat record of everything that must not change between two runs.

    Args:
        source: Description of the source.
        options: Of the benchmark.
        ids: Of all images, the unusable ones too.
        annotations: ``'links'``, ``'copies'`` or ``'none'``.
    """
    names = sorted(ids)
    digest = hashlib.sha256('\n'.join(names).encode()).hexdigest()[:12]
    images = f'{len(names)} (checksum of the ids {digest})'
    return {**source, **options, 'images': images, 'annotations of a cell': annotations}


def read_state(out: Path, targets: Mapping[str, str]) -> State:
    """Look at what is in a folder.

    Args:
        out: The folder.
        targets: Image ids of the source by their image's path in a cell.

    Raises:
        BenchmarkError: If that is no benchmark, or its record is damaged.
    """
    if (out / MANIFEST).is_file():
        return _finished(read_manifest(out), targets)
    if (out / JOURNAL).is_file():
        header, done = read_journal(out / JOURNAL)
        found, software = header.get('identity'), header.get('software')
        if not isinstance(found, dict) or not isinstance(software, dict):
            raise BenchmarkError(f'{out / JOURNAL} is damaged; build again with --overwrite')
        return State(found, software, done, version=header.get('version'))
    others = sorted(path.name for path in out.iterdir() if path.name not in _IGNORED)
    if others:
        raise BenchmarkError(
            f'{out} holds other things ({", ".join(others[:3])}) and is no benchmark; give a '
            'folder that is empty or does not exist with --out'
        )
    return State()


def require_same(state: State, wanted: Mapping[str, Any], out: Path) -> None:
    """Check that the build is resumed with the same options.

    Raises:
        BenchmarkError: Which option differs, and what to do.
    """
    if state.identity is None:
        return
    others = differing(state.identity, wanted)
    if others:
        what = 'an unfinished' if state.manifest is None else 'a'
        raise BenchmarkError(
            f'{out} holds {what} benchmark with other options. {"; ".join(others)}. Give the same '
            'options, another folder with --out, or --overwrite to build it again'
        )


def other_versions(state: State, versions: Mapping[str, str]) -> list[str]:
    """Say in words which versions differ, of those that are on record: earlier releases wrote down
    fewer, and what they have begun can be resumed."""
    recorded = {name: value for name, value in versions.items() if name in state.software}
    return differing(state.software, recorded)


def require_versions(state: State, versions: Mapping[str, str], out: Path) -> None:
    """Check that an unfinished benchmark is resumed with the libraries that began it.

    Raises:
        BenchmarkError: Which one differs, and what to do.
    """
    others = other_versions(state, versions)
    if others:
        raise BenchmarkError(
            f'{out} was begun with other versions, which may give other bytes. '
            f'{"; ".join(others)} (installed). Resume where those are installed, or build again '
            f'with '
            '--overwrite'
        )


def require_sources(state: State, problems: Mapping[str, str], out: Path) -> None:
    """Check that the source still has all images that were used.

    Raises:
        BenchmarkError: Which one.
    """
    lost = [name for name in problems if name in state.done]
    if lost:
        raise BenchmarkError(
            f'images that {out} was built from are missing in the source. {lost[0]}: '
            f'{problems[lost[0]]}; '
            'restore it'
        )


def belongings(out: Path) -> list[Path]:
    """Folders and files in ``out`` that are its benchmark's, the records last.

    Raises:
        BenchmarkError: If there are other things and no benchmark.
    """
    if not (out / MANIFEST).is_file() and not (out / JOURNAL).is_file():
        read_state(out, {})
        return []
    folders = [out / name for name in (*CORRUPTIONS, SHARED, TEMPORARY)]
    records = [out / MANIFEST, out / JOURNAL]
    return [
        *(path for path in folders if path.is_dir() and not path.is_symlink()),
        *(path for path in records if path.is_file()),
    ]


def erase(out: Path) -> None:
    """Delete only the benchmark in a folder.

    The records go last: an interrupted deletion is still known as a benchmark.

    Raises:
        BenchmarkError: If the folder holds none.
    """
    for path in belongings(out):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _finished(manifest: Manifest, targets: Mapping[str, str]) -> State:
    done = {image_id: BuiltImage(sha) for image_id, sha in manifest.images.items()}
    for path, stamp in manifest.files.items():
        name, level, target = path.split('/', 2)
        # Images of another source are detected by the identity.
        known = done.get(targets.get(target, ''))
        if known is not None:
            known.files[name, int(level)] = stamp
    kind = 'none'
    if manifest.source.get('layout') != 'folder':
        kind = 'links' if manifest.links else 'copies'
    found = identity(
        manifest.source,
        manifest.options,
        [*manifest.images, *manifest.skipped],
        annotations=kind,
    )
    return State(found, manifest.software, done, manifest, manifest.version)
