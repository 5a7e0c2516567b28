"""What the demo found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.table import Table


@dataclass(frozen=True)
class ModelResult:
    """Measurements of one model.

    Attributes:
        ap50: On the test split, 0 to 1.
        params: Number of parameters.
        macs: Multiply-accumulate operations of one picture.
        latency_ms: Median time of a forward pass of one picture on this machine's CPU.
        checkpoint: File.
    """

    ap50: float
    params: int
    macs: int
    latency_ms: float
    checkpoint: str


def as_data(dense: ModelResult, pruned: ModelResult, **more: object) -> dict[str, object]:
    """Both results as plain data, for a JSON file."""
    return {'dense': asdict(dense), 'pruned': asdict(pruned), **more}


def summary_table(dense: ModelResult, pruned: ModelResult, *, threads: int) -> Table:
    """The closing table, a column for each model and one for the share that is left."""
    table = Table(title='Dense and pruned with AdaSAP')
    table.add_column('')
    for column in ('dense', 'pruned', 'pruned / dense'):
        table.add_column(column, justify='right')
    rows = [
        ('AP50 on the test split', 'ap50', lambda v: f'{100 * v:.1f}'),
        ('parameters', 'params', lambda v: f'{v:,}'),
        ('MACs of one picture', 'macs', lambda v: f'{v / 1e6:.1f} M'),
        (f'forward pass, {threads} threads', 'latency_ms', lambda v: f'{v:.2f} ms'),
    ]
    for title, name, text in rows:
        before, after = getattr(dense, name), getattr(pruned, name)
        share = f'{after / before:.0%}' if before else '-'
        table.add_row(title, text(before), text(after), share)
    return table
