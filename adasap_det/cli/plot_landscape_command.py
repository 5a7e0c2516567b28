"""The work of ``adasap-plot-landscape``: how sharp the minima of checkpoints are, side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn

from adasap_det.checkpoint.loading import load_model
from adasap_det.cli.common import load_config, require_checkpoint
from adasap_det.cli.usage import UsageError
from adasap_det.datasets.missing_data import check_data
from adasap_det.pruning import count_params
from adasap_det.sharpness import (
    TopEigenvalue,
    filter_normalized_direction,
    line,
    plane,
    top_eigenvalue,
    trained_parameters,
)
from adasap_det.sharpness.plot import plot_lines, plot_planes
from adasap_det.utils.io import atomic_write
from adasap_det.utils.losses import batch_losses, mean_loss, some_batches
from adasap_det.utils.random_state import RandomState, same_randomness

_RISES = (0.1, 0.5, 1.0)
"""Fractions of the radius at which the table reports the rise."""


@dataclass(frozen=True)
class Landscape:
    """What was measured of one checkpoint.

    Attributes:
        name: In table and figures.
        checkpoint: File.
        params: Number of parameters.
        loss: At the weights.
        line: Losses, shape ``(directions, points)``.
        plane: Losses, shape ``(points, points)``, along the first two directions.
        eigenvalue: Of the Hessian.
    """

    name: str
    checkpoint: str
    params: int
    loss: float
    line: Tensor
    plane: Tensor | None
    eigenvalue: TopEigenvalue | None

    def rise(self, offset: int) -> float:
        """Mean of ``L(w + a d) - L(w)`` over the directions, both ways, so many points off."""
        middle = self.line.shape[1] // 2
        return float(self.line[:, [middle - offset, middle + offset]].mean()) - self.loss


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    _check(args)
    console = Console(stderr=True)
    names = _names(args)
    cfg = load_config(args)
    for checkpoint in args.checkpoints:
        require_checkpoint(checkpoint)
    check_data(cfg, stages=('train',))
    half = args.points // 2
    steps = [args.radius * (index - half) / half for index in range(args.points)]
    try:
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        batches = some_batches(cfg, args.batches, seed=args.seed)
        state = RandomState.capture()
        with Progress(console=console) as progress:
            found = [
                _measure(args, cfg, name, checkpoint, batches, state, steps, progress)
                for name, checkpoint in zip(names, args.checkpoints, strict=True)
            ]
    except ValueError as error:
        raise UsageError(error) from None
    offsets = sorted({max(1, round(fraction * half)) for fraction in _RISES})
    out = Path(cfg.work_dir)
    with atomic_write(out / 'landscape.json') as temporary:
        content = _content(args, found, steps, offsets, len(batches))
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), 'utf-8')
    plot_lines({each.name: each.line for each in found}, steps, out / 'landscape.svg')
    written = ['landscape.json', 'landscape.svg']
    planes = {each.name: each.plane for each in found if each.plane is not None}
    if planes:
        plot_planes(planes, steps, out / 'landscape_plane.svg')
        written.append('landscape_plane.svg')
    console.print(_table(found, steps, offsets, len(batches)))
    print('\n'.join(str(out / name) for name in written))


def _check(args: argparse.Namespace) -> None:
    if not (math.isfinite(args.radius) and args.radius > 0):
        raise UsageError(f'--radius must be positive, got {args.radius}')
    if args.points < 3 or args.points % 2 == 0:
        raise UsageError(
            f'--points must be odd and at least 3, so that the middle one is the trained weights; '
            f'got {args.points}'
        )
    for option in ('directions', 'batches', 'iterations'):
        if getattr(args, option) < 1:
            raise UsageError(f'--{option} must be at least 1, got {getattr(args, option)}')
    if args.seed < 0:
        raise UsageError(f'--seed must not be negative, got {args.seed}')


def _names(args: argparse.Namespace) -> list[str]:
    paths = [Path(checkpoint) for checkpoint in args.checkpoints]
    names = args.names or [path.stem for path in paths]
    if not args.names and len(set(names)) < len(names):
        names = [f'{path.parent.name}/{path.stem}' for path in paths]
    if len(names) != len(paths):
        raise UsageError(f'--names gives {len(names)} names for {len(paths)} checkpoints')
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f'two checkpoints are called {twice[0]!r}; name them with --names')
    return names


def _measure(
    args: argparse.Namespace,
    cfg: Config,
    name: str,
    checkpoint: str,
    batches: list[Any],
    state: RandomState,
    steps: Sequence[float],
    progress: Progress,
) -> Landscape:
    """Everything of one checkpoint; the eigenvalue first, for it is what may not be possible."""
    model, _ = load_model(cfg, checkpoint)
    evaluations = 1 + args.directions * len(steps) + args.plane * len(steps) ** 2
    total = evaluations + args.eigenvalue * args.iterations
    task = progress.add_task(name, total=total)
    loss_of, losses = _repeatable(model, batches, state, lambda: progress.advance(task))
    loss = loss_of(model)
    if not math.isfinite(loss):
        raise ValueError(f'the loss of checkpoint {checkpoint} is {loss}; its training diverged')
    parameters = trained_parameters(model)
    eigenvalue = None
    if args.eigenvalue:
        eigenvalue = top_eigenvalue(losses, parameters, iterations=args.iterations, seed=args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    directions = [
        filter_normalized_direction(parameters, generator) for _ in range(max(2, args.directions))
    ]
    landscape = Landscape(
        name=name,
        checkpoint=checkpoint,
        params=count_params(model),
        loss=loss,
        line=line(model, loss_of, directions[: args.directions], steps),
        plane=plane(model, loss_of, directions[0], directions[1], steps) if args.plane else None,
        eigenvalue=eigenvalue,
    )
    progress.update(task, completed=total)
    return landscape


def _repeatable(
    model: nn.Module, batches: list[Any], state: RandomState, done: Callable[[], None]
) -> tuple[Callable[[nn.Module], float], Callable[[], Iterator[Tensor]]]:
    """Mean loss, and losses with their graphs, for which samplers draw the same at each call."""

    def loss_of(model: nn.Module) -> float:
        with same_randomness(state):
            loss = mean_loss(model, batches)
        done()
        return loss

    def losses() -> Iterator[Tensor]:
        with same_randomness(state):
            yield from batch_losses(model, batches)
        done()

    return loss_of, losses


def _content(
    args: argparse.Namespace,
    found: Sequence[Landscape],
    steps: Sequence[float],
    offsets: Sequence[int],
    batches: int,
) -> dict[str, Any]:
    half = len(steps) // 2
    return {
        'config': args.config,
        'seed': args.seed,
        'batches': batches,
        'steps': steps,
        'checkpoints': [
            {
                'name': each.name,
                'checkpoint': each.checkpoint,
                'params': each.params,
                'loss': each.loss,
                'rise': [
                    {'step': steps[half + offset], 'rise': _numbers(each.rise(offset))}
                    for offset in offsets
                ],
                'line': _numbers(each.line.tolist()),
                'plane': None if each.plane is None else _numbers(each.plane.tolist()),
                'eigenvalue': each.eigenvalue and dataclasses.asdict(each.eigenvalue),
            }
            for each in found
        ],
    }


def _numbers(value: Any) -> Any:
    """As JSON knows numbers: null for what is not finite."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return value if math.isfinite(value) else None


def _table(
    found: Sequence[Landscape], steps: Sequence[float], offsets: Sequence[int], batches: int
) -> Table:
    half = len(steps) // 2
    table = Table(
        title=f'random directions: {found[0].line.shape[0]}, training batches: {batches}',
        caption='eigenvalue: the largest of the Hessian',
    )
    rises = [f'rise ±{steps[half + offset]:g}' for offset in offsets]
    for head in ('checkpoint', 'params', 'loss', *rises, 'eigenvalue'):
        table.add_column(head, justify='left' if head == 'checkpoint' else 'right', overflow='fold')
    for each in found:
        table.add_row(
            each.name,
            f'{each.params / 1e6:.2f} M',
            f'{each.loss:.3f}',
            *(f'{each.rise(offset):.3g}' for offset in offsets),
            _written(each.eigenvalue),
        )
    if any(each.eigenvalue and not each.eigenvalue.converged for each in found):
        table.caption = 'eigenvalue ≥: not converged, the largest is no less; raise --iterations'
    return table


def _written(eigenvalue: TopEigenvalue | None) -> str:
    if eigenvalue is None:
        return '-'
    return f'{"" if eigenvalue.converged else "≥ "}{eigenvalue.value:.4g}'
