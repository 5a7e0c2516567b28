"""Results of the studies in a file, to which runs are added one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from adasap_det.whole_file import whole_file


class Keyed(Protocol):
    """A dataclass that says whose result it is: a later one takes the place of an earlier."""

    __dataclass_fields__: Any

    @property
    def key(self) -> tuple[Any, ...]: ...


R = TypeVar('R', bound=Keyed)


def read(path: Path, kind: type[R]) -> list[R]:
    """What :func:`merge` wrote."""
    return [kind(**{k: _plain(v) for k, v in one.items()}) for one in json.loads(path.read_text())]


def merge(path: Path, records: Iterable[R], kind: type[R]) -> list[R]:
    """Add results to a file of them; all that it holds then."""
    known = read(path, kind) if path.is_file() else []
    merged = {record.key: record for record in (*known, *records)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        lines = ',\n'.join(json.dumps(asdict(record)) for record in merged.values())
        temporary.write_text(f'[\n{lines}\n]\n', 'utf-8')
    return list(merged.values())


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
