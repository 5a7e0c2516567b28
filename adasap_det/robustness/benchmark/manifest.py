"""The manifest of a finished benchmark, and its comparison when a build is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adasap_det.robustness.benchmark.digests import FileDigest, check_inside
from adasap_det.robustness.benchmark.errors import BenchmarkError

MANIFEST = 'manifest.json'
KIND = 'adasap_det corrupted benchmark'
SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """The record of a finished benchmark.

    Attributes:
        version: Of adasap_det.
        software: Versions that the bytes come from.
        source: Layout, folder and split or annotation file of the clean data.
        options: Corruptions, severities, format, quality, subsampling and seed.
        images: SHA-256 of each clean image, by image id, in the data set's order.
        skipped: Why an image was left out, by image id.
        files: FileDigest of each corrupted image, by its path below the benchmark.
        annotations: Stamps of the copied annotations and lists.
        links: Target of each symbolic link.
    """

    version: str
    software: Mapping[str, str]
    source: Mapping[str, str]
    options: Mapping[str, Any]
    images: Mapping[str, str]
    skipped: Mapping[str, str]
    files: Mapping[str, FileDigest]
    annotations: Mapping[str, FileDigest]
    links: Mapping[str, str]

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names, in the benchmark's order."""
        return tuple(self.options['corruptions'])

    @property
    def severities(self) -> tuple[int, ...]:
        """Rising."""
        return tuple(self.options['severities'])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(stamp.size for stamp in (*self.files.values(), *self.annotations.values()))


def cell_root(benchmark: str | os.PathLike[str], corruption: str, severity: int) -> Path:
    """The folder of one cell, laid out as the clean data set is: mmdet's ``data_root``."""
    return Path(benchmark) / corruption / str(severity)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of a finished benchmark.

    Args:
        path: The benchmark's folder, or its ``manifest.json``.

    Raises:
        BenchmarkError: If there is none, the benchmark is not finished, or the file is damaged.
    """
    file = Path(path)
    file = file if file.name == MANIFEST else file / MANIFEST
    if not file.is_file():
        unfinished = ' It is not finished: run the build again, it resumes.'
        journal = file.parent / 'progress.jsonl'
        raise BenchmarkError(
            f'{file} does not exist, so {file.parent} is no finished benchmark.'
            + (unfinished if journal.is_file() else ' Build one with tools/make_voc_c.py.')
        )
    try:
        data = json.loads(file.read_bytes())
        if data['kind'] != KIND:
            raise ValueError(f'its kind is {data["kind"]!r}')
        if data['schema'] != SCHEMA:
            raise BenchmarkError(
                f'{file} has schema {data["schema"]}, this version reads {SCHEMA}; read it with '
                f'adasap_det {data.get("version")}'
            )
        manifest = Manifest(
            version=data['version'],
            software=data['software'],
            source=data['source'],
            options=data['options'],
            images=data['images'],
            skipped=data['skipped'],
            files=_stamps(data['files']),
            annotations=_stamps(data['annotations']),
            links={check_inside(path): target for path, target in data['links'].items()},
        )
    except BenchmarkError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(
            f'{file} is damaged or no manifest of a benchmark ({type(error).__name__}: {error}); '
            'delete it and build again'
        ) from None
    return manifest


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest's file: a line each file, no times and no absolute paths, so that two builds
    give the same bytes."""
    head = {
        'kind': KIND,
        'schema': SCHEMA,
        'version': manifest.version,
        'software': dict(manifest.software),
        'source': dict(manifest.source),
        'options': dict(manifest.options),
    }
    parts = [f'{_text(key)}: {_text(value)}' for key, value in head.items()]
    sections: dict[str, Mapping[str, Any]] = {
        'images': manifest.images,
        'skipped': manifest.skipped,
        'links': dict(sorted(manifest.links.items())),
        'annotations': _plain(manifest.annotations),
        'files': _plain(manifest.files),
    }
    for name, entries in sections.items():
        lines = ',\n'.join(f'  {_text(key)}: {_text(value)}' for key, value in entries.items())
        parts.append(f'{_text(name)}: {{\n{lines}\n }}' if entries else f'{_text(name)}: {{}}')
    return ('{\n ' + ',\n '.join(parts) + '\n}\n').encode()


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say in words where two flat records differ, each value of ``found`` first."""
    return [
        f'{key}: {_short(found.get(key))} in the folder, {_short(wanted.get(key))} requested'
        for key in dict.fromkeys([*found, *wanted])
        if found.get(key) != wanted.get(key)
    ]


def _stamps(entries: Mapping[str, Sequence[Any]]) -> dict[str, FileDigest]:
    return {
        check_inside(path): FileDigest(int(size), str(sha)) for path, (size, sha) in entries.items()
    }


def _plain(stamps: Mapping[str, FileDigest]) -> dict[str, list[Any]]:
    return {path: [stamp.size, stamp.sha256] for path, stamp in sorted(stamps.items())}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=False)


def _short(value: Any) -> str:
    text = _text(value) if not isinstance(value, str) else value
    return text if len(text) <= 120 else f'{text[:117]}...'
