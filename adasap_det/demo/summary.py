"""What the demo found, for people and for programs."""

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
        mpc: Mean AP50 over its corruptions and severities.
        rpc: ``mpc / p``; None where nothing is found.
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
    """The results as plain data, for a JSON file."""
    return {**{name: asdict(result) for name, result in results.items()}, **more}


def summary_table(
    results: Mapping[str, ModelResult], *, threads: int, corrupted: str = 'mPC'
) -> Table:
    """The closing table, a column for each model.

    Args:
        results: By the heading of the column; the first is the one that shares refer to.
        threads: That the forward passes ran on.
        corrupted: What the mean over the corrupted images is called.
    """
    table = Table(title='Dense, plainly pruned and pruned with AdaSAP')
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
    for title, key, text, with_share in rows:
        cells = []
        for result in results.values():
            value = getattr(result, key)
            cell = '-' if value is None else text(value)
            if with_share and result is not first:
                cell += f' ({value / getattr(first, key):.0%})'
            cells.append(cell)
        table.add_row(title, *cells)
    return table
