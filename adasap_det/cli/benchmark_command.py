"""The work of ``adasap-benchmark``: latency and throughput of checkpoints, in alternation."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from adasap_det.checkpoint.loading import load_model
from adasap_det.cli.common import load_config, require_checkpoint
from adasap_det.cli.usage import UsageError
from adasap_det.export import make_graph
from adasap_det.export.onnx import sample
from adasap_det.export.runtimes import device_of, runnable
from adasap_det.pruning import count_macs, count_params
from adasap_det.utils.device import device_identity, usable_device
from adasap_det.utils.input_size import config_input_size
from adasap_det.utils.io import atomic_write
from adasap_det.utils.timing import time_calls


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if min(args.batch_sizes) < 1:
        raise UsageError('--batch-sizes must be at least 1')
    cfg = load_config(args)
    for checkpoint in args.checkpoints:
        require_checkpoint(checkpoint)
    try:
        device = usable_device(args.device)
        size = config_input_size(cfg, args.input_size)
        models = {path: load_model(cfg, path)[0] for path in args.checkpoints}
        graphs = {path: make_graph(model, nms=False) for path, model in models.items()}
    except ValueError as error:
        raise UsageError(error) from None
    rows = [
        row
        for variant in args.variants
        for batch in args.batch_sizes
        for row in measure(graphs, variant, batch, size, device=device, seconds=args.seconds)
    ]
    for row in rows:
        model = models[row['checkpoint']]
        row |= {'params': count_params(model), 'macs': count_macs(model, input_size=size)}
    devices = {
        where.type: device_identity(where)
        for where in (device_of(variant, device) for variant in args.variants)
    }
    Console(width=120).print(_table(rows, size, devices))
    if args.out:
        content = {'input_size': size, **device_identity(device), 'devices': devices, 'rows': rows}
        with atomic_write(Path(args.out)) as temporary:
            temporary.write_text(json.dumps(content, indent=1), 'utf-8')


def measure(
    graphs: dict[str, nn.Module],
    variant: str,
    batch_size: int,
    size: tuple[int, int],
    *,
    device: torch.device,
    seconds: float,
) -> list[dict[str, Any]]:
    """Median time of each network, all of them run in one way, in turns.

    Returns:
        A row a network: ``device`` that it ran on, ``ms`` a batch, ``images_per_second``,
        ``speedup`` over the first; or ``problem``, where this way of running does not work.
    """
    where = device_of(variant, device)
    common = {'variant': variant, 'device': where.type, 'batch_size': batch_size}
    images = sample(size, batch_size)
    calls: dict[str, Callable[[], object]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            for name, graph in graphs.items():
                calls[name] = runnable(graph, variant, images, device=device)
            times = time_calls(calls, device=where, rounds=5, seconds=seconds, most=1000)
        except (RuntimeError, ImportError) as error:
            problem = str(error).splitlines()[0]
            return [{'checkpoint': name, **common, 'problem': problem} for name in graphs]
    first = next(iter(times.values()))
    return [
        {
            'checkpoint': name,
            **common,
            'ms': ms,
            'images_per_second': 1e3 * batch_size / ms,
            'speedup': first / ms,
        }
        for name, ms in times.items()
    ]


def _table(
    rows: Sequence[dict[str, Any]], size: Any, devices: Mapping[str, dict[str, str]]
) -> Table:
    named = '; '.join(
        f'{kind}: {each["device"]}, threads {each["threads"]}' for kind, each in devices.items()
    )
    table = Table(title=f'{size[0]} x {size[1]} pixels, {named}')
    left = ('checkpoint', 'run', 'device')
    for head in (*left, 'batch', 'parameters', 'MACs', 'ms', 'images/s', 'speed-up'):
        table.add_column(head, justify='left' if head in left else 'right', overflow='fold')
    for row in rows:
        start = [str(row[key]) for key in ('checkpoint', 'variant', 'device', 'batch_size')]
        counts = [f'{row["params"] / 1e6:.2f} M', f'{row["macs"] / 1e9:.2f} G']
        if 'problem' in row:
            table.add_row(*start, *counts, row['problem'])
            continue
        table.add_row(
            *start,
            *counts,
            f'{row["ms"]:.1f}',
            f'{row["images_per_second"]:.1f}',
            f'{row["speedup"]:.2f} x',
        )
    return table
