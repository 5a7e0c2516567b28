"""Tables of the report."""

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
class TableCell:
    """One cell of a table.

    Attributes:
        text: Content.
        subtext: Smaller text below: the difference to the baseline.
        best: Whether it is highlighted as the best value.
    """

    text: str
    subtext: str = ''
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One row: label, cells, and the index of its model, if it belongs to one."""

    label: str
    cells: Sequence[TableCell]
    model: int | None = None
    note: str = ''


@dataclass(frozen=True)
class Group:
    """Rows below a common heading; no heading if ``label`` is empty."""

    label: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        corner: Header of the first column.
        heads: Headers of the other columns.
        groups: The rows.
        column_groups: Headers above ``heads``, of ``span`` columns each: text and index of a model.
        models: Index of the model of each header; None if it belongs to none.
    """

    corner: str
    heads: Sequence[str]
    groups: Sequence[Group]
    column_groups: Sequence[tuple[str, int]] = ()
    span: int = 1
    models: Sequence[int | None] = field(default_factory=list)


def mean_name(comparison: Comparison) -> str:
    """Return 'mPC' for a mean over the full benchmark, otherwise its number of cells."""
    return 'mPC' if comparison.complete else f'mean over {len(comparison.shared)} of 75 cells'


def relative_name(comparison: Comparison) -> str:
    """Return 'rPC', or 'mean / P' if the benchmark is incomplete."""
    return 'rPC' if comparison.complete else 'mean / P'


def headline(comparison: Comparison) -> Table:
    """Scores and costs of each model."""
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
        ratios = [ratio(value, comparison.clean(i)) for i, value in enumerate(found)]
        scores += [(f'{name}, %', found), (f'R_{name}, %', ratios)]
    for head, values in scores:
        heads.append(head)
        texts = [percent(value) for value in values]
        subtexts = [points(difference(value, values[comparison.baseline])) for value in values]
        columns.append(_column(comparison, texts, subtexts, values, largest=True))
    errors = [comparison.corruption_error(i) for i in models]
    for head, values in (
        ('mCE, %', [None if e is None else e.mce for e in errors]),
        ('relative mCE, %', [None if e is None else e.relative_mce for e in errors]),
    ):
        if any(value is not None for value in values):
            heads.append(head)
            texts = [percent(value) for value in values]
            subtexts = [points(difference(value, values[comparison.baseline])) for value in values]
            columns.append(_column(comparison, texts, subtexts, values, largest=False))
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
        subtexts = [change(size, sizes[comparison.baseline]) for size in sizes]
        comparable = head != 'latency' or comparison.same_device
        columns.append(
            _column(comparison, texts, subtexts, sizes, largest=False)
            if comparable
            else [TableCell(text) for text in texts]
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
    """Mean over the severities of each corruption, with differences to the baseline."""
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
        title = 'held out (not part of the mean)' if family == 'held out' else family
        groups.append(Group(title, rows))
    if comparison.shared:
        values = [comparison.mean(i) for i in models]
        groups.append(Group('', [_scores(mean_name(comparison), comparison, values)]))
    return Table('corruption', comparison.names, groups, models=list(models))


def by_class(comparison: Comparison) -> Table:
    """P, mPC and rPC of each class, with the best of each highlighted."""
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
        column_groups=[(name, index) for index, name in enumerate(comparison.names)],
        span=3,
    )


def by_part(comparison: Comparison, table: ChannelTable) -> Table:
    """Dense and remaining channels of the parts of a model."""
    rows = [_channel_row(part, dense, channels) for part, dense, channels in table.parts()]
    total = _channel_row('all layers', sum(table.dense), list(map(sum, table.channels)))
    return _channels('part', comparison, table, [Group('', rows), Group('', [total])])


def by_layer(comparison: Comparison, table: ChannelTable) -> Table:
    """Dense and remaining channels of every layer."""
    rows = [
        _channel_row(layer, dense, [channels[index] for channels in table.channels])
        for index, (layer, dense) in enumerate(zip(table.layers, table.dense, strict=True))
    ]
    return _channels('layer', comparison, table, [Group('', rows)])


def _channels(
    corner: str, comparison: Comparison, table: ChannelTable, groups: list[Group]
) -> Table:
    names = [comparison.names[model] for model in table.models]
    return Table(corner, ['dense', *names], groups, models=[None, *table.models])


def _channel_row(label: str, dense: int, channels: Sequence[int]) -> Row:
    cells = [TableCell(f'{c:,}', f'{100 * c / dense:.0f} %') for c in channels]
    return Row(label, [TableCell(f'{dense:,}'), *cells])


def _scores(label: str, comparison: Comparison, values: Sequence[float | None]) -> Row:
    subtexts = [points(difference(value, values[comparison.baseline])) for value in values]
    texts = [percent(value) for value in values]
    return Row(label, _column(comparison, texts, subtexts, values, largest=True))


def _column(
    comparison: Comparison,
    texts: Sequence[str],
    subtexts: Sequence[str],
    values: Sequence[float | None],
    *,
    largest: bool,
) -> list[TableCell]:
    """Cells of one quantity, one per model; values that print the same are equally good."""
    known = [value for value in values if value is not None]
    best = None
    if len(known) > 1:
        best = texts[list(values).index(max(known) if largest else min(known))]
        if len({text for text in texts if text != NONE}) == 1:
            best = None
    return [
        TableCell(
            text,
            '' if index == comparison.baseline or subtexts[index] == NONE else subtexts[index],
            text == best,
        )
        for index, text in enumerate(texts)
    ]
