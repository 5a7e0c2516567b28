"""Results of the demo, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from rich.table import Table

from adasap_det.robustness.metrics import percent


@dataclass(frozen=True)
class ModelResult:
    """Measurements of one model.

    Attributes:
        ap50: On the test split, 0 to 1.
        p: AP50 on the clean images of the benchmark, 0 to 1.
        mpc: Mean AP50 over its corruptions and severities, 0 to 1.
        rpc: ``mpc / p``; None if ``p`` is 0.
        params: Number of parameters.
        macs: Multiply-accumulate operations of one image.
        latency_ms: Median time of a forward pass of one image on this machine's CPU.
        checkpoint: File.
    """

    ap50: float
    p: float
    mpc: float
    rpc: float | None
    params: int
    macs: int
    latency_ms: float
    checkpoint: str


def as_data(results: Mapping[str, ModelResult], **more: object) -> dict[str, object]:
    """Convert the results to plain data, for a JSON file."""
    return {**{name: asdict(result) for name, result in results.items()}, **more}


def summary_table(
    results: Mapping[str, ModelResult], *, threads: int, corrupted: str = 'mPC'
) -> Table:
    """Return the table of results, with a column for each model.

    Args:
        results: Results by column heading; percentages refer to the first.
        threads: Number of threads of the timed forward passes.
        corrupted: Name of the mean over the corrupted images.
    """
    table = Table(title='Dense, pruned without and with AdaSAP')
    table.add_column('')
    for name in results:
        table.add_column(name, justify='right')
    rows: list[tuple[str, str, Callable[[float], str], bool]] = [
        ('AP50 on the test split', 'ap50', percent, False),
        ('AP50 on clean images of it (P)', 'p', percent, False),
        (f'AP50 on corrupted ones ({corrupted})', 'mpc', percent, False),
        ('corrupted / clean (rPC)', 'rpc', percent, False),
        ('parameters', 'params', lambda v: f'{v:,}', True),
        ('MACs of one image', 'macs', lambda v: f'{v / 1e6:.1f} M', True),
        (f'forward pass, {threads} threads', 'latency_ms', lambda v: f'{v:.2f} ms', True),
    ]
    first = next(iter(results.values()))
    for title, key, text, with_ratio in rows:
        cells = []
        for result in results.values():
            value = getattr(result, key)
            cell = '-' if value is None else text(value)
            if with_ratio and result is not first:
                cell += f' ({value / getattr(first, key):.0%})'
            cells.append(cell)
        table.add_row(title, *cells)
    return table
