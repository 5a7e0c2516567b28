"""Times of layers on one device, kept on disk."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from adasap_det.utils.device import device_identity
from adasap_det.utils.io import atomic_write
from adasap_det.utils.timing import time_calls

from .grid import Grid, monotone
from .latency_cost import LayerTotals, Measured
from .layers import LayerKind

FORMAT_VERSION = 3

PASSES = 3
"""Times that every layer is visited; the lesser result counts, as bursts of other work pass."""

QUANTILE = 0.1


class _OtherFormat(Exception):
    pass


@dataclass(frozen=True)
class LayerRequest:
    """Numbers of channels that a kind of layer is to be measured at."""

    kind: LayerKind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class LatencyTable:
    """Milliseconds by kind of layer and numbers of channels.

    Attributes:
        device: What it was measured on; see
            :func:`~adasap_det.utils.device.device_identity`.
        grids: Measured grids by key of the kind.
        networks: Times of whole networks of several widths, by a digest of the network without its
            numbers of channels; the first of each is the unpruned one.
    """

    device: dict[str, str]
    grids: dict[str, list[Grid]] = field(default_factory=dict)
    networks: dict[str, list[Measured]] = field(default_factory=dict)

    def find(self, kind: LayerKind, inputs: Sequence[int], outputs: Sequence[int]) -> Grid | None:
        """The least grid of the kind that covers these numbers of channels."""
        fitting = [g for g in self.grids.get(kind.key, ()) if g.covers(inputs, outputs)]
        return min(fitting, key=lambda g: (g.inputs[-1] * g.outputs[-1], g.inputs), default=None)

    def measure(
        self, requests: Sequence[LayerRequest], *, device: torch.device, quiet: bool = False
    ) -> int:
        """Measure what is not in the table yet, with a progress bar on a terminal.

        Returns:
            Number of layer shapes that were measured.
        """
        missing = []
        for request in requests:
            if request not in missing and self.find(*_asked(request)) is None:
                missing.append(request)
        points = [(r.kind, (i, o)) for r in missing for i in r.inputs for o in r.outputs]
        found = [math.inf] * len(points)
        with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
            task = progress.add_task('timing layers', total=PASSES * len(points))
            for _ in range(PASSES):
                for index, (kind, channels) in enumerate(points):
                    found[index] = min(found[index], _time(kind, channels, device))
                    progress.advance(task)
        times = iter(found)
        for request in missing:
            ms = [[next(times) for _ in request.outputs] for _ in request.inputs]
            grid = Grid(request.inputs, request.outputs, monotone(ms))
            self.grids.setdefault(request.kind.key, []).append(grid)
        return len(points)

    def save(self, path: Path) -> None:
        """Write the table as JSON and keep what other processes added to the file meanwhile."""
        if path.is_file():
            self.merge(LatencyTable.load(path, device=self.device))
        content = {
            'format': FORMAT_VERSION,
            'device': self.device,
            'grids': {
                key: [{'inputs': g.inputs, 'outputs': g.outputs, 'ms': g.ms} for g in grids]
                for key, grids in self.grids.items()
            },
            'networks': {key: [asdict(n) for n in of] for key, of in self.networks.items()},
        }
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), 'utf-8')

    def merge(self, other: LatencyTable) -> None:
        """Add what only ``other`` has."""
        for key, grids in other.grids.items():
            own = self.grids.setdefault(key, [])
            spans = {(g.inputs, g.outputs) for g in own}
            own.extend(g for g in grids if (g.inputs, g.outputs) not in spans)
        self.networks = {**other.networks, **self.networks}

    @classmethod
    def load(cls, path: Path, *, device: Mapping[str, str] | None) -> LatencyTable:
        """Read a table.

        Args:
            path: JSON file that :meth:`save` wrote.
            device: Device that it must have been measured on; None where any will do.

        Raises:
            ValueError: If the file is no table, or is of another device.
        """
        try:
            content = json.loads(path.read_text('utf-8'))
            version = content['format']
            if version != FORMAT_VERSION:
                raise _OtherFormat(version)
            found = content['device']
            table = cls(
                device=found,
                grids={
                    key: [
                        Grid(tuple(g['inputs']), tuple(g['outputs']), tuple(map(tuple, g['ms'])))
                        for g in grids
                    ]
                    for key, grids in content['grids'].items()
                },
                networks={
                    key: [Measured(n['ms'], LayerTotals(**n['totals']), n['weight']) for n in of]
                    for key, of in content['networks'].items()
                },
            )
        except _OtherFormat as error:
            raise ValueError(
                f'{path} is a latency table of format {error}, and this is format '
                f'{FORMAT_VERSION}; delete it to measure again'
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path} is no latency table ({type(error).__name__}: {error}); delete it to '
                f'measure again'
            ) from None
        if device is not None and found != dict(device):
            differing = '; '.join(
                f'{key} {found.get(key)!r} there, {value!r} here'
                for key, value in device.items()
                if found.get(key) != value
            )
            raise ValueError(
                f'{path} was measured on another device ({differing}). Measure on this one '
                f'(another table), or set budget.any_device=True to prune for that one'
            )
        return table


def default_path(identity: Mapping[str, str]) -> Path:
    """Where the table of a device is kept: ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    name = re.sub(r'\W+', '-', ' '.join(identity.values())).strip('-').lower()
    return cache / 'adasap_det' / 'latency' / f'{name}.json'


def open_table(
    path: Path | None, *, device: torch.device, any_device: bool = False
) -> tuple[LatencyTable, Path]:
    """The table kept for a device, or an empty one, and where it is kept.

    Raises:
        ValueError: See :meth:`~adasap_det.pruning.budgets.latency.LatencyTable.load`.
    """
    identity = device_identity(device)
    path = default_path(identity) if path is None else path
    if path.is_file():
        return LatencyTable.load(path, device=None if any_device else identity), path
    if any_device:
        raise ValueError(f'budget.table: {path} does not exist, and any_device=True needs it')
    return LatencyTable(device=identity), path


def _time(kind: LayerKind, channels: tuple[int, int], device: torch.device) -> float:
    if kind.groups == 'depthwise':
        channels = channels[0], channels[0]
    layer, image = kind.build(channels, device=device)
    times = time_calls({'layer': lambda: layer(image)}, device=device, quantile=QUANTILE)
    return times['layer']


def _asked(request: LayerRequest) -> tuple[LayerKind, tuple[int, ...], tuple[int, ...]]:
    return request.kind, request.inputs, request.outputs
