"""Progress: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# Seconds between two lines without a terminal.
_EVERY = 5.0


class ProgressReport:
    """Report progress with rate and time left; a context manager.

    Args:
        label: Name of the work.
        total: Number of units of work.
        stream: Output, stderr by default.
        quiet: Print nothing.
        unit: Name of the units.
        every: Seconds between two lines if ``stream`` is not a terminal.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        stream: TextIO | None = None,
        quiet: bool = False,
        unit: str = 'images',
        every: float = _EVERY,
    ) -> None:
        self._label, self._total, self._every = label, total, every
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._done = self._last = 0  # now, and in the last line
        self._bar: Progress | None = None
        self._quiet = quiet
        if not quiet and self._stream.isatty():
            self._bar = Progress(
                TextColumn('{task.description}'),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TimeElapsedColumn(),
                TextColumn('left'),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
            )

    def __enter__(self) -> ProgressReport:
        self._start = self._printed = time.monotonic()
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self._quiet and self._done > self._last:
            self._print()

    def advance(self, number: int = 1) -> None:
        """Count more units as done."""
        self._done += number
        if self._bar is not None:
            self._bar.advance(self._task, number)
        elif not self._quiet and time.monotonic() - self._printed >= self._every:
            self._printed = time.monotonic()
            self._print()

    def _print(self) -> None:
        self._last = self._done
        elapsed = max(time.monotonic() - self._start, 1e-9)
        left = elapsed / self._done * (self._total - self._done)
        print(
            f'{self._label}: {self._done} of {self._total} {self._unit}, '
            f'{self._done / elapsed:.2f} per second, {format_duration(elapsed)} elapsed, '
            f'{format_duration(left)} left',
            file=self._stream,
            flush=True,
        )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return the rate per second."""
        return Text('' if task.speed is None else f'{task.speed:.2f}/s')


def format_duration(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    total = round(seconds)
    return f'{total // 3600}:{total // 60 % 60:02d}:{total % 60:02d}'
