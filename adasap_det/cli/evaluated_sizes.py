"""Accuracy, parameters, MACs and latency of several sizes of a network: table, JSON and figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table
from torch import nn

from adasap_det.pruning import count_macs, count_params
from adasap_det.pruning.budgets.quantity import COUNTS, MILLISECONDS, format_quantity
from adasap_det.utils.device import device_identity
from adasap_det.utils.io import atomic_write
from adasap_det.utils.plot_style import mark
from adasap_det.utils.timing import measure_latency
from adasap_det.utils.validation import metric_of

WHOLE = 'whole'
"""Name of the network that nothing was removed from."""

_ROUNDS = 30
_PALE = '#d5dae0'
_COSTS = {
    'parameters': ('parameters', COUNTS),
    'macs': ('MACs', COUNTS),
    'latency_ms': ('measured latency', MILLISECONDS),
}


@dataclass(frozen=True)
class EvaluatedSize:
    """A size of a network.

    Attributes:
        name: Its ratio, such as ``'0.4'``, or :data:`WHOLE`.
        parameters, macs: Their numbers, the MACs of one image.
        latency_ms: Median time of the network on one image, without decoding and NMS.
        metrics: All metrics on the validation data.
    """

    name: str
    parameters: int
    macs: int
    latency_ms: float
    metrics: Mapping[str, float]


def evaluate_sizes(
    models: Mapping[str, nn.Module],
    measure: Callable[[nn.Module], Mapping[str, float]],
    *,
    input_size: tuple[int, int],
    device: torch.device,
) -> list[EvaluatedSize]:
    """Measure every size; the latencies are taken in turns.

    Args:
        models: The networks by name.
        measure: All metrics of a network.
        input_size: Height and width in pixels.
        device: Where the models are.
    """
    latency = measure_latency(models, input_size=input_size, rounds=_ROUNDS, device=device)
    return [
        EvaluatedSize(
            name,
            count_params(model),
            count_macs(model, input_size=input_size),
            latency[name],
            {key: float(value) for key, value in measure(model).items()},
        )
        for name, model in models.items()
    ]


def write_sizes(
    rows: Sequence[EvaluatedSize],
    folder: Path,
    *,
    metric: str | None,
    input_size: tuple[int, int],
    device: torch.device,
) -> tuple[Table, list[Path]]:
    """Write ``sizes.json`` and ``sizes.svg``.

    Args:
        rows: The sizes.
        folder: Where to write them.
        metric: Name of the metric in the table and the figure, by default the first one.
        input_size: Height and width in pixels.
        device: Where the latencies were measured.

    Returns:
        A table, and the files.

    Raises:
        ValueError: If there is no such metric.
    """
    name = metric or next(iter(rows[0].metrics))
    values = [metric_of(row.metrics, name) for row in rows]
    content = {
        'metric': name,
        'input_size': input_size,
        'device': device_identity(device),
        'sizes': [asdict(row) for row in rows],
    }
    with atomic_write(folder / 'sizes.json') as temporary:
        temporary.write_text(json.dumps(content, indent=1), 'utf-8')
    plot_sizes(rows, values, folder / 'sizes.svg', label=name)
    return _table(rows, values, name), [folder / 'sizes.json', folder / 'sizes.svg']


def _table(rows: Sequence[EvaluatedSize], values: Sequence[float], metric: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ('size', metric, *(label for label, _ in _COSTS.values())):
        table.add_column(head, justify='right', overflow='fold')
    for row, value in zip(rows, values, strict=True):
        costs = (format_quantity(getattr(row, key), units) for key, (_, units) in _COSTS.items())
        table.add_row(row.name, f'{value:.4g}', *costs)
    return table


def plot_sizes(
    rows: Sequence[EvaluatedSize], values: Sequence[float], path: Path, *, label: str
) -> None:
    """Draw accuracy against each cost; the dashed line is that of the whole network.

    Args:
        rows: The sizes.
        values: Their metric.
        path: Image file; its suffix sets the format.
        label: Name of the metric.
    """
    figure = Figure(figsize=(9.6, 3.4), layout='constrained')
    FigureCanvasAgg(figure)
    look, whole = mark(2), mark(0)
    for axes, (key, (name, units)) in zip(
        figure.subplots(1, len(_COSTS), sharey=True), _COSTS.items(), strict=True
    ):
        unit = format_quantity(max(getattr(row, key) for row in rows), units).partition(' ')[2]
        scale = units[unit]
        points = sorted(
            (getattr(row, key) / scale, value, row.name)
            for row, value in zip(rows, values, strict=True)
        )
        axes.plot(
            [x for x, _, _ in points],
            [y for _, y, _ in points],
            color=look.colour,
            marker=look.marker,
            markersize=4.5,
            linewidth=1.4,
        )
        for x, y, text in points if axes is figure.axes[0] else ():
            axes.annotate(text, (x, y), (5, -8), textcoords='offset points', fontsize=7)
        for row, value in zip(rows, values, strict=True):
            if row.name == WHOLE:
                axes.axhline(value, color=whole.colour, linestyle='--', linewidth=0.8, zorder=0)
        axes.margins(x=0.15, y=0.1)
        axes.set_xlim(left=0)
        axes.set_xlabel(f'{name}, {unit}' if unit else name)
        axes.grid(linewidth=0.4, color=_PALE)
        axes.spines[['top', 'right']].set_visible(False)
    figure.axes[0].set_ylabel(label)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip('.'))
