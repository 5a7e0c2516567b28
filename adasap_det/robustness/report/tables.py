"""The tables of the report, ready to be printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from adasap_det.robustness.metrics import ratio
from adasap_det.robustness.report.channel_tables import ChannelTable
from adasap_det.robustness.report.comparison import Comparison, difference
from adasap_det.robustness.report.text import (
    NONE,
    change,
    corruption_name,
    percent,
    points,
    scaled,
)


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        under: Smaller, below: the difference to the baseline.
        best: Whether it is marked as the best of its kind.
    """

    text: str
    under: str = ''
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One row: its head, of the model ``model`` where that is not None, and its cells."""

    label: str
    cells: Sequence[Cell]
    model: int | None = None
    note: str = ''


@dataclass(frozen=True)
class Group:
    """Rows that belong together, below a head of their own unless ``label`` is empty."""

    label: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        corner: Head of the first column.
        heads: Heads of the other columns.
        groups: The rows.
        over: Heads above the heads, of ``span`` columns each; a model's colour goes with them.
        models: Model of each head, None where it has none.
    """

    corner: str
    heads: Sequence[str]
    groups: Sequence[Group]
    over: Sequence[tuple[str, int]] = ()
    span: int = 1
    models: Sequence[int | None] = field(default_factory=list)


def mean_name(comparison: Comparison) -> str:
    """'mPC' for a mean over the whole benchmark, and otherwise plainly what it is."""
    return 'mPC' if comparison.complete else f'mean over {len(comparison.shared)} of 75 cells'


def relative_name(comparison: Comparison) -> str:
    """'rPC', or what stands in its place where the benchmark is not complete."""
    return 'rPC' if comparison.complete else 'that mean / P'


def headline(comparison: Comparison) -> Table:
    """Each model with what it scores and what it costs."""
    models = range(len(comparison.names))
    info = [r.model for r in comparison.results]
    heads, columns = [], []
    scores = [
        (f'P, {comparison.metric} in %', [comparison.clean(i) for i in models]),
        (f'{mean_name(comparison)}, %', [comparison.mean(i) for i in models]),
        (f'{relative_name(comparison)}, %', [comparison.relative(i) for i in models]),
    ]
    for name in comparison.shifted:
        found = [comparison.of_shifted(i, name) for i in models]
        kept = [ratio(value, comparison.clean(i)) for i, value in enumerate(found)]
        scores += [(f'{name}, %', found), (f'R_{name}, %', kept)]
    for head, values in scores:
        heads.append(head)
        texts = [percent(value) for value in values]
        unders = [points(difference(value, values[comparison.baseline])) for value in values]
        columns.append(_column(comparison, texts, unders, values, largest=True))
    errors = [comparison.corruption_error(i) for i in models]
    for head, values in (
        ('mCE, %', [None if e is None else e.mce for e in errors]),
        ('relative mCE, %', [None if e is None else e.relative_mce for e in errors]),
    ):
        if any(value is not None for value in values):
            heads.append(head)
            texts = [percent(value) for value in values]
            unders = [points(difference(value, values[comparison.baseline])) for value in values]
            columns.append(_column(comparison, texts, unders, values, largest=False))
    for head, unit, sizes in (
        ('parameters', '', [m.params for m in info]),
        ('MACs', '', [m.macs for m in info]),
        ('latency', 'ms', [m.latency_ms for m in info]),
    ):
        if all(size is None for size in sizes):
            continue
        if unit:
            texts = [NONE if size is None else f'{size:.1f}' for size in sizes]
        else:
            unit, texts = scaled(sizes)
        heads.append(f'{head}, {unit}' if unit else head)
        unders = [change(size, sizes[comparison.baseline]) for size in sizes]
        comparable = head != 'latency' or comparison.same_device
        columns.append(
            _column(comparison, texts, unders, sizes, largest=False)
            if comparable
            else [Cell(text) for text in texts]
        )
    rows = [
        Row(
            name,
            [column[index] for column in columns],
            model=index,
            note='baseline' if index == comparison.baseline and len(models) > 1 else '',
        )
        for index, name in enumerate(comparison.names)
    ]
    return Table('model', heads, [Group('', rows)])


def by_corruption(comparison: Comparison) -> Table:
    """Mean over the severities of each corruption, and the differences to the baseline."""
    models = range(len(comparison.names))
    groups = [Group('', [_scores('clean (P)', comparison, [comparison.clean(i) for i in models])])]
    for family, members in comparison.families.items():
        rows = [
            _scores(
                corruption_name(name),
                comparison,
                [comparison.of_corruption(i, name) for i in models],
            )
            for name in members
        ]
        title = 'held out, not part of the mean' if family == 'held out' else family
        groups.append(Group(title, rows))
    if comparison.shared:
        values = [comparison.mean(i) for i in models]
        groups.append(Group('', [_scores(mean_name(comparison), comparison, values)]))
    return Table('corruption', comparison.names, groups, models=list(models))


def by_class(comparison: Comparison) -> Table:
    """P, mPC and rPC of each class, the best of each marked."""
    models = range(len(comparison.names))
    rows = []
    for name in comparison.classes:
        clean = [comparison.class_clean(i, name) for i in models]
        means = [comparison.class_mean(i, name) for i in models]
        ratios = [ratio(mean, p) for mean, p in zip(means, clean, strict=True)]
        columns = [
            _column(
                comparison, [percent(v) for v in values], [''] * len(values), values, largest=True
            )
            for values in (clean, means, ratios)
        ]
        rows.append(Row(name, [column[i] for i in models for column in columns]))
    short = ['P', 'mPC', 'rPC'] if comparison.complete else ['P', 'mean', 'mean / P']
    return Table(
        'class',
        short * len(models),
        [Group('', rows)],
        over=[(name, index) for index, name in enumerate(comparison.names)],
        span=3,
    )


def by_part(comparison: Comparison, table: ChannelTable) -> Table:
    """Channels of the parts of a model, dense and kept."""
    rows = [_kept(part, dense, kept) for part, dense, kept in table.parts()]
    total = _kept('all layers', sum(table.dense), [sum(kept) for kept in table.channels])
    return _channels('part', comparison, table, [Group('', rows), Group('', [total])])


def by_layer(comparison: Comparison, table: ChannelTable) -> Table:
    """Channels of every layer, dense and kept."""
    rows = [
        _kept(layer, dense, [channels[index] for channels in table.channels])
        for index, (layer, dense) in enumerate(zip(table.layers, table.dense, strict=True))
    ]
    return _channels('layer', comparison, table, [Group('', rows)])


def _channels(
    corner: str, comparison: Comparison, table: ChannelTable, groups: list[Group]
) -> Table:
    names = [comparison.names[model] for model in table.models]
    return Table(corner, ['dense', *names], groups, models=[None, *table.models])


def _kept(label: str, dense: int, kept: Sequence[int]) -> Row:
    cells = [Cell(f'{channels:,}', f'{100 * channels / dense:.0f} %') for channels in kept]
    return Row(label, [Cell(f'{dense:,}'), *cells])


def _scores(label: str, comparison: Comparison, values: Sequence[float | None]) -> Row:
    unders = [points(difference(value, values[comparison.baseline])) for value in values]
    texts = [percent(value) for value in values]
    return Row(label, _column(comparison, texts, unders, values, largest=True))


def _column(
    comparison: Comparison,
    texts: Sequence[str],
    unders: Sequence[str],
    values: Sequence[float | None],
    *,
    largest: bool,
) -> list[Cell]:
    """Cells of one quantity, one a model; values that print alike are equally good."""
    known = [value for value in values if value is not None]
    best = None
    if len(known) > 1:
        best = texts[list(values).index(max(known) if largest else min(known))]
        if len({text for text in texts if text != NONE}) == 1:
            best = None
    return [
        Cell(
            text,
            '' if index == comparison.baseline or unders[index] == NONE else unders[index],
            text == best,
        )
        for index, text in enumerate(texts)
    ]
