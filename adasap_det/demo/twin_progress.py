"""How far a process of the demo is, reported in a file."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from adasap_det.utils.io import atomic_write

_INTERVAL = 0.5  # seconds between two writes


@dataclass(frozen=True)
class Progress:
    """Progress of a process.

    Attributes:
        stage: What it does.
        done: Units of work done, a unit being about as long as a pass of training.
        total: Units of work in all.
    """

    stage: str
    done: float
    total: float


class ProgressFile:
    """Writes a :class:`Progress` from time to time.

    Args:
        path: The file.
        total: Units of work in all.
    """

    def __init__(self, path: Path, total: float) -> None:
        self._path, self._total = path, total
        self._done = 0.0
        self._stage = ''
        self._written = 0.0

    def begin(self, stage: str) -> None:
        """Begin a stage."""
        self._stage = stage
        self._write()

    def advance(self, units: float) -> None:
        """Report units of work as done."""
        self._done += units
        if time.monotonic() - self._written > _INTERVAL:
            self._write()

    def _write(self) -> None:
        # On Windows a file that is being read cannot be replaced; the next report will be.
        with suppress(PermissionError), atomic_write(self._path) as temporary:
            content = asdict(Progress(self._stage, self._done, self._total))
            temporary.write_text(json.dumps(content), 'utf-8')
        self._written = time.monotonic()


def read_progress(path: Path) -> Progress | None:
    """The progress in a file; None if it cannot be read yet."""
    try:
        return Progress(**json.loads(path.read_text('utf-8')))
    except (FileNotFoundError, PermissionError):
        return None


def progress_file(work_dir: Path, name: str) -> Path:
    """File with the progress of a training."""
    return work_dir / f'{name}.progress'
