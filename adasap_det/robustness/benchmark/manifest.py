"""Manifest of a finished benchmark."""

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
    """Record of a finished benchmark.

    Attributes:
        version: Version of adasap_det.
        software: Versions of the libraries that determine the bytes.
        source: Layout, folder and split or annotation file of the clean data.
        options: Corruptions, severities, format, quality, subsampling and seed.
        images: SHA-256 of each clean image, by image id, in the data set's order.
        skipped: Why an image was left out, by image id.
        files: Digest of each corrupted image, by path below the benchmark.
        annotations: Digests of the copied annotations and lists, by path.
        links: Target of each symbolic link, by path.
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
        """Names of the corruptions, in the benchmark's order."""
        return tuple(self.options['corruptions'])

    @property
    def severities(self) -> tuple[int, ...]:
        """Severities in ascending order."""
        return tuple(self.options['severities'])

    @property
    def size(self) -> int:
        """Total size of the files in bytes."""
        return sum(digest.size for digest in (*self.files.values(), *self.annotations.values()))


def cell_root(benchmark: str | os.PathLike[str], corruption: str, severity: int) -> Path:
    """Return the folder of one cell, in the layout of the clean data: mmdet's ``data_root``."""
    return Path(benchmark) / corruption / str(severity)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of a finished benchmark.

    Args:
        path: The benchmark's folder, or its ``manifest.json``.

    Raises:
        BenchmarkError: If the manifest is missing or damaged, or the benchmark is not finished.
    """
    file = Path(path)
    file = file if file.name == MANIFEST else file / MANIFEST
    if not file.is_file():
        unfinished = ' It is not finished: run the same build again, it resumes.'
        journal = file.parent / 'progress.jsonl'
        raise BenchmarkError(
            f'{file} does not exist, so {file.parent} is not a finished benchmark.'
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
            files=_read_digests(data['files']),
            annotations=_read_digests(data['annotations']),
            links={check_inside(path): target for path, target in data['links'].items()},
        )
    except BenchmarkError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BenchmarkError(
            f'{file} is damaged or not the manifest of a benchmark ({type(error).__name__}: '
            f'{error}); delete it and build again'
        ) from None
    return manifest


def manifest_bytes(manifest: Manifest) -> bytes:
    """Encode a manifest as JSON, with one line per file.

    Without times and absolute paths, so that two builds give the same bytes.
    """
    head = {
        'kind': KIND,
        'schema': SCHEMA,
        'version': manifest.version,
        'software': dict(manifest.software),
        'source': dict(manifest.source),
        'options': dict(manifest.options),
    }
    parts = [f'{_to_json(key)}: {_to_json(value)}' for key, value in head.items()]
    sections: dict[str, Mapping[str, Any]] = {
        'images': manifest.images,
        'skipped': manifest.skipped,
        'links': dict(sorted(manifest.links.items())),
        'annotations': _digest_lists(manifest.annotations),
        'files': _digest_lists(manifest.files),
    }
    for name, entries in sections.items():
        lines = ',\n'.join(
            f'  {_to_json(key)}: {_to_json(value)}' for key, value in entries.items()
        )
        parts.append(
            f'{_to_json(name)}: {{\n{lines}\n }}' if entries else f'{_to_json(name)}: {{}}'
        )
    return ('{\n ' + ',\n '.join(parts) + '\n}\n').encode()


def describe_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Describe each difference of an existing and a requested flat record."""
    return [
        f'{key}: {_short(found.get(key))} in the folder, {_short(wanted.get(key))} requested'
        for key in dict.fromkeys([*found, *wanted])
        if found.get(key) != wanted.get(key)
    ]


def _read_digests(entries: Mapping[str, Sequence[Any]]) -> dict[str, FileDigest]:
    return {
        check_inside(path): FileDigest(int(size), str(sha)) for path, (size, sha) in entries.items()
    }


def _digest_lists(digests: Mapping[str, FileDigest]) -> dict[str, list[Any]]:
    return {path: [digest.size, digest.sha256] for path, digest in sorted(digests.items())}


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=False)


def _short(value: Any) -> str:
    text = _to_json(value) if not isinstance(value, str) else value
    return text if len(text) <= 120 else f'{text[:117]}...'
