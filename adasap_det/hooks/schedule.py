"""When each stage begins, counted in iterations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from adasap_det.pruning.budgets.selection import exponential_target


@dataclass(frozen=True)
class PruningSchedule:
    """Three stages: adaptive perturbation, pruning during it, uniform perturbation.

    Attributes:
        adaptive_begin: First iteration of the adaptive stage; plain steps before.
        prune_begin: Iteration before which the first prune step is made.
        prune_steps: Number of prune steps; with none the adaptive stage lasts to the end.
        prune_interval: Iterations from one prune step to the next.
        shrink_begin: Iteration before which the channels that will go begin to shrink, if they do.
    """

    adaptive_begin: int
    prune_begin: int
    prune_steps: int
    prune_interval: int
    shrink_begin: int | None = None

    @property
    def choice(self) -> int:
        """Iteration before which channels are chosen for the first time."""
        return self.prune_begin if self.shrink_begin is None else self.shrink_begin

    @property
    def last_prune_step(self) -> int:
        """Iteration before which the last prune step is made; the end of training without any."""
        if not self.prune_steps:
            return self.prune_begin
        return self.prune_begin + (self.prune_steps - 1) * self.prune_interval

    def stage(self, iteration: int) -> str:
        """Stage of an iteration, after the prune step that may precede it."""
        if iteration < self.adaptive_begin:
            return 'plain'
        return 'adaptive' if iteration < self.last_prune_step else 'uniform'

    def prune_step_before(self, iteration: int) -> int | None:
        """Which prune step (0, 1, ...) is made right before ``iteration``, if any."""
        step, rest = divmod(iteration - self.prune_begin, self.prune_interval)
        return step if rest == 0 and 0 <= step < self.prune_steps else None

    def prune_steps_done(self, iteration: int) -> int:
        """Prune steps due before ``iteration``, its own not counted."""
        steps = math.ceil((iteration - self.prune_begin) / self.prune_interval)
        return min(max(steps, 0), self.prune_steps)

    def limit_after(self, step: int, *, dense: float, final: float) -> float:
        """Target cost of a prune step, falling exponentially from ``dense`` to ``final``."""
        return exponential_target((step + 1) / self.prune_steps, initial=dense, final=final)


def make_schedule(
    *,
    by_epoch: bool,
    adaptive_begin: int,
    prune_begin: int,
    prune_steps: int,
    prune_interval: int,
    iters_per_epoch: int,
    max_iters: int,
    accumulative_counts: int = 1,
    least_steps: int = 1,
    shrink_begin: int | None = None,
) -> PruningSchedule:
    """Check the options and count everything in iterations.

    Args:
        by_epoch: Whether ``adaptive_begin`` and ``prune_begin`` are epochs or iterations.
        adaptive_begin, prune_begin, prune_steps, prune_interval, shrink_begin: See
            :class:`PruningSchedule`; ``prune_interval`` is in iterations in any case.
        iters_per_epoch: Length of the training data loader.
        max_iters: Iterations of the training.
        least_steps: Fewest prune steps allowed.
        accumulative_counts: Micro-batches of one optimizer step; prune steps wait for its end.

    Raises:
        ValueError: If a number is out of range, or training ends before the last prune step.
    """
    for name, value, least in (
        ('adaptive_begin', adaptive_begin, 0),
        ('prune_begin', prune_begin, 0),
        ('prune_steps', prune_steps, least_steps),
        ('prune_interval', prune_interval, 1),
    ):
        if value < least:
            raise ValueError(f'PruningHook.{name} must be at least {least}, got {value}')
    unit = iters_per_epoch if by_epoch else 1
    if shrink_begin is not None and prune_steps != 1:
        raise ValueError(
            f'PruningHook.shrink_begin={shrink_begin} takes all channels that will go to zero for '
            f'one prune step: set prune_steps=1, not {prune_steps}'
        )
    if not prune_steps:
        if adaptive_begin * unit >= max_iters:
            raise ValueError(
                f'PruningHook.adaptive_begin={adaptive_begin} comes after the end of training'
            )
        return PruningSchedule(adaptive_begin * unit, max_iters, 0, prune_interval)
    if adaptive_begin > prune_begin:
        raise ValueError(
            f'PruningHook.adaptive_begin={adaptive_begin} comes after prune_begin={prune_begin}; '
            f'the adaptive stage prepares the pruning'
        )
    if shrink_begin is not None and not adaptive_begin <= shrink_begin < prune_begin:
        raise ValueError(
            f'PruningHook.shrink_begin={shrink_begin} must lie between '
            f'adaptive_begin={adaptive_begin} and prune_begin={prune_begin}'
        )
    first = _round_up(prune_begin * unit, accumulative_counts)
    schedule = PruningSchedule(
        adaptive_begin=adaptive_begin * unit,
        prune_begin=first,
        prune_steps=prune_steps,
        prune_interval=_round_up(prune_interval, accumulative_counts),
        shrink_begin=None
        if shrink_begin is None
        else _round_up(shrink_begin * unit, accumulative_counts),
    )
    if schedule.shrink_begin is not None and schedule.shrink_begin >= schedule.prune_begin:
        raise ValueError(
            f'PruningHook.shrink_begin={shrink_begin} and prune_begin={prune_begin} fall on the '
            f'same step of {accumulative_counts} micro-batches; begin to shrink earlier'
        )
    if least_steps == 0 and schedule.adaptive_begin >= schedule.choice:
        raise ValueError(
            f'PruningHook.elastic has no iteration: adaptive_begin={adaptive_begin} comes with '
            f'shrink_begin={shrink_begin} or prune_begin={prune_begin}'
        )
    if schedule.last_prune_step >= max_iters:
        raise ValueError(
            f'the last of PruningHook.prune_steps={prune_steps} falls on iteration '
            f'{schedule.last_prune_step}, but training ends after {max_iters}; begin earlier '
            f'(prune_begin), make fewer prune steps (prune_steps) or shorter intervals '
            f'(prune_interval), '
            f'or train longer'
        )
    return schedule


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
