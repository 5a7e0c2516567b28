"""The record of an unfinished benchmark: one appended line per finished image."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adasap_det.robustness.benchmark.digests import FileDigest, write_whole
from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.worker import Cell, ImageResult

JOURNAL = 'progress.jsonl'
# Seconds between two syncs to the disk; what a loss of power may cost.
_SYNC_EVERY = 30.0


@dataclass
class BuiltImage:
    """What is known of an image that an earlier run has finished."""

    source_sha256: str
    files: dict[Cell, FileDigest] = field(default_factory=dict)


class Journal:
    """Appends finished images. Use it as a context manager.

    Args:
        path: An existing journal; half a line at its end is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        _cut_torn_line(self._descriptor, path)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def add(self, result: ImageResult) -> None:
        """Record an image whose files are all in place.

        Raises:
            OSError: If the disk is full. The torn line does no harm.
        """
        files = [[*cell, stamp.size, stamp.sha256] for cell, stamp in result.files.items()]
        entry = {'image': result.image_id, 'source': result.source_sha256, 'files': files}
        view = memoryview((json.dumps(entry) + '\n').encode())
        while view:
            view = view[os.write(self._descriptor, view) :]
        if time.monotonic() - self._synced > _SYNC_EVERY:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()


def start_journal(out: Path, header: Mapping[str, Any]) -> None:
    """Begin a benchmark: the header describes what is being built."""
    write_whole(out, JOURNAL, (json.dumps(header) + '\n').encode(), durable=True)


def read_journal(path: Path) -> tuple[dict[str, Any], dict[str, BuiltImage]]:
    """The header, and what is finished.

    A line that cannot be read counts for nothing: its image is made again.

    Raises:
        BenchmarkError: If the header cannot be read.
    """
    with path.open('rb') as file:
        try:
            header = json.loads(file.readline())
            if not isinstance(header, dict):
                raise ValueError('no header')
        except ValueError:
            raise BenchmarkError(
                f'{path} is damaged: its first line does not describe what is being built; '
                f'build again '
                'with --overwrite'
            ) from None
        done: dict[str, BuiltImage] = {}
        for line in file:
            try:
                entry = json.loads(line)
                files = {
                    (str(name), int(level)): FileDigest(int(size), str(sha))
                    for name, level, size, sha in entry['files']
                }
                known = done.setdefault(str(entry['image']), BuiltImage(str(entry['source'])))
            except (ValueError, KeyError, TypeError):
                continue
            known.files.update(files)
    return header, done


def _cut_torn_line(descriptor: int, path: Path) -> None:
    """Otherwise the next line would be appended to the truncated one, and both be lost."""
    end = path.read_bytes().rfind(b'\n') + 1
    if end < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)
