"""Journal of an unfinished benchmark: one appended line per finished image."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adasap_det.robustness.benchmark.digests import FileDigest, write_file
from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.worker import Cell, ImageResult

JOURNAL = 'progress.jsonl'
# Seconds between two flushes to the disk: the work that a loss of power may cost.
_SYNC_EVERY = 30.0


@dataclass
class BuiltImage:
    """An image that an earlier run has finished.

    Attributes:
        source_sha256: Checksum of the clean image.
        files: Digests of the corrupted images, by cell.
    """

    source_sha256: str
    files: dict[Cell, FileDigest] = field(default_factory=dict)


class Journal:
    """Append finished images to a journal; a context manager.

    Args:
        path: Existing journal; an incomplete last line is removed.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        _remove_incomplete_line(self._descriptor, path)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def add(self, result: ImageResult) -> None:
        """Record an image whose files have all been written.

        Raises:
            OSError: If the disk is full. The incomplete line is ignored later.
        """
        files = [[*cell, digest.size, digest.sha256] for cell, digest in result.files.items()]
        entry = {'image': result.image_id, 'source': result.source_sha256, 'files': files}
        view = memoryview((json.dumps(entry) + '\n').encode())
        while view:
            view = view[os.write(self._descriptor, view) :]
        if time.monotonic() - self._synced > _SYNC_EVERY:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()


def start_journal(out: Path, header: Mapping[str, Any]) -> None:
    """Create the journal of a new benchmark; the header describes what is being built."""
    write_file(out, JOURNAL, (json.dumps(header) + '\n').encode(), durable=True)


def read_journal(path: Path) -> tuple[dict[str, Any], dict[str, BuiltImage]]:
    """Read the header and the finished images, by image id.

    Unreadable lines are ignored, and their images are built again.

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
                f'{path} is damaged: its first line does not describe what is being built; build '
                'again with --overwrite'
            ) from None
        built_images: dict[str, BuiltImage] = {}
        for line in file:
            try:
                entry = json.loads(line)
                files = {
                    (str(name), int(level)): FileDigest(int(size), str(sha))
                    for name, level, size, sha in entry['files']
                }
                built = built_images.setdefault(
                    str(entry['image']), BuiltImage(str(entry['source']))
                )
            except (ValueError, KeyError, TypeError):
                continue
            built.files.update(files)
    return header, built_images


def _remove_incomplete_line(descriptor: int, path: Path) -> None:
    """Remove it, since the next line would be appended to it, and both would be unreadable."""
    end = path.read_bytes().rfind(b'\n') + 1
    if end < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)
