"""Details that are needed to repeat the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import PurePath

from adasap_det.robustness.report.comparison import Comparison, Key
from adasap_det.robustness.report.text import NONE, corruption_name
from adasap_det.robustness.results import ModelResults


@dataclass(frozen=True)
class Fact:
    """One row of the table: its label, and a text for each model."""

    label: str
    texts: Sequence[str]
    code: bool = False


@dataclass(frozen=True)
class Missing:
    """Cells of the benchmark that a model was not evaluated on: number and names."""

    count: int
    text: str


def facts(comparison: Comparison) -> list[Fact]:
    """Return the evaluation details of each model; rows without any text are omitted."""
    lines: list[tuple[str, bool, Callable[[ModelResults], object]]] = [
        ('data set', False, lambda r: f'{r.model.dataset.type}, {r.model.dataset.split}'),
        ('images', False, lambda r: r.cells[None, 0].images),
        ('classes', False, lambda r: len(r.model.dataset.classes)),
        ('corrupted images', False, _sources),
        *((f'test set {name}', False, partial(_shifted, name=name)) for name in comparison.shifted),
        ('config', True, lambda r: r.model.config),
        ('checkpoint', True, lambda r: r.model.checkpoint),
        ('checkpoint SHA-256', True, lambda r: r.model.checkpoint_sha256),
        ('input size', False, lambda r: _size(r.model.input_size)),
        ('parameters', False, lambda r: _count(r.model.params)),
        ('MACs', False, lambda r: _count(r.model.macs)),
        ('device', False, lambda r: r.model.device),
        ('results folder', True, lambda r: r.folder.name),
    ]
    found = []
    for label, code, read in lines:
        texts = [NONE if (v := read(r)) in (None, '') else str(v) for r in comparison.results]
        if any(text != NONE for text in texts):
            found.append(Fact(label, texts, code))
    return found


def missing_cells(comparison: Comparison) -> list[Missing]:
    """List the missing cells of each model, as 'Fog 4, 5; Frost 1'.

    A cell without a value of the metric counts as missing.
    """
    return [
        Missing(len(keys), _list(keys) or 'none')
        for keys in map(comparison.missing, range(len(comparison.names)))
    ]


def _list(keys: Sequence[Key]) -> str:
    return '; '.join(
        f'{corruption_name(name)} {", ".join(str(severity) for _, severity in group)}'
        for name, group in groupby(keys, key=lambda key: key[0])
    )


def _sources(results: ModelResults) -> str:
    found = {cell.source: None for key, cell in results.cells.items() if key[0] is not None}
    return ', '.join(found)


def _shifted(results: ModelResults, name: str) -> str | None:
    texts = [
        f'{PurePath(one.config).name}, {one.images} images'
        for one in results.shifted
        if one.name == name
    ]
    return texts[-1] if texts else None


def _size(size: Sequence[int] | None) -> str | None:
    return None if size is None else ' \u00d7 '.join(map(str, size))


def _count(value: float | None) -> str | None:
    return None if value is None else f'{value:,.0f}'
