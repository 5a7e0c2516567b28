"""What the command lines of the studies share: their options, and the tables that they end with."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

import records
from records import Record
from rich.console import Console
from tables import tables


def parser(
    description: str,
    *,
    out: str,
    keeps: Sequence[float],
    arms: Collection[str],
    main: Sequence[str],
) -> argparse.ArgumentParser:
    """Of what every study can be told.

    Args:
        description: Of the study, in a line.
        out: Where its runs go by default.
        keeps: Sizes by default.
        arms: That there are.
        main: Those of them that run by default.
    """
    found = argparse.ArgumentParser(description=description)
    found.add_argument('--out', type=Path, default=out, help='folder of the runs')
    found.add_argument(
        '--keeps', nargs='+', type=float, default=list(keeps), help='shares of the parameters'
    )
    found.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    found.add_argument('--arms', nargs='+', default=list(main), choices=arms)
    found.add_argument('--jobs', type=int, default=1, help='runs at a time, one thread each')
    found.add_argument('--options', nargs='*', default=[], help='more --cfg-options of all runs')
    found.add_argument('--record', type=Path, help='file of results, to which new ones are added')
    found.add_argument('--table-only', action='store_true', help='train nothing')
    return found


def show(
    found: list[Record], arms: Sequence[str], *, title: str, against: Sequence[str],
    record: Path | None,
) -> None:  # fmt: skip
    """Print the tables of these results and, where there is a file of results, of those in it, to
    which they are added."""
    if record:
        found = records.merge(record, found)
    console = Console(width=200)
    for table in tables(found, arms, title=title, against=against):
        console.print(table)
