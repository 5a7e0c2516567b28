"""Checks of runs that would end unpruned, or pruned at random."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict

from adasap_det.optim.optim_wrapper import STAGES, SharpnessAwareMixin
from adasap_det.pruning.importance import Importance
from adasap_det.pruning.pruner import Pruner

from .schedule import PruningSchedule

AFTER_PRUNING = ('uniform', 'plain')
"""Perturbations that need no importance, which is not observed after the last prune step."""


def check_options(
    *,
    score_interval: int,
    recalibrate_batches: int,
    perturbation_before_pruning: str,
    perturbation_after_pruning: str,
    elastic: object,
    shrink_begin: int | None,
    prune_blocks: bool,
    keep_ratios: object,
) -> None:
    """Check options of the hook, each and together.

    Raises:
        ValueError: If one is out of range, or two do not go together.
    """
    if score_interval < 1:
        raise ValueError(f'PruningHook.score_interval must be at least 1, got {score_interval}')
    if recalibrate_batches < 0:
        raise ValueError(
            f'PruningHook.recalibrate_batches must be at least 0, got {recalibrate_batches}'
        )
    for name, stage, known in (
        ('perturbation_before_pruning', perturbation_before_pruning, STAGES),
        ('perturbation_after_pruning', perturbation_after_pruning, AFTER_PRUNING),
    ):
        if stage not in known:
            raise ValueError(f'PruningHook.{name} must be one of {known}, got {stage!r}')
    for name, given in (('prune_blocks', prune_blocks), ('keep_ratios', keep_ratios)):
        if given and elastic is not None:
            raise ValueError(
                f'PruningHook.elastic removes channels in one order of all groups; leave out '
                f'{name}={given!r}'
            )
    if shrink_begin is not None and prune_blocks:
        raise ValueError(
            'PruningHook.shrink_begin shrinks channels, not whole blocks; leave out '
            'prune_blocks=True'
        )


def check_single_wrapper(wrapper: OptimWrapper) -> None:
    """Check that no sharpness-aware wrapper stands in a dict, where its stages are not set.

    Raises:
        ValueError: If an ``OptimWrapperDict`` holds one.
    """
    if not isinstance(wrapper, OptimWrapperDict):
        return
    for name, child in wrapper.items():
        if isinstance(child, SharpnessAwareMixin):
            raise ValueError(
                f'PruningHook sets the stages of one AdaSAP wrapper, not of those in an '
                f'OptimWrapperDict; optim_wrapper.{name} is a {type(child).__name__}. Use one '
                f'AdaSAPOptimWrapper for the whole model, or a plain OptimWrapper there'
            )


def check_gradients_come_first(importance: Importance, schedule: PruningSchedule) -> None:
    """Check that an importance that needs gradients sees some before channels are chosen.

    Raises:
        ValueError: If ``prune_begin`` or ``shrink_begin`` is 0.
    """
    if importance.needs_gradients and schedule.choice == 0:
        name, event = (
            ('prune_begin', 'the first prune step comes')
            if schedule.shrink_begin is None
            else ('shrink_begin', 'channels are chosen')
        )
        raise ValueError(
            f'PruningHook.importance={type(importance).__name__} needs gradients, and with '
            f'{name}=0 {event} before any; raise {name}'
        )


def check_no_missed_steps(schedule: PruningSchedule, *, made: int, iteration: int) -> None:
    """Check that a resumed run has made every prune step that was due.

    Args:
        schedule: Of the run.
        made: Prune steps that the checkpoint has made of it.
        iteration: Where the run begins or is resumed.

    Raises:
        ValueError: If more are due by then; says how many.
    """
    due = schedule.prune_steps_done(iteration)
    if made < due:
        raise ValueError(
            f'the checkpoint has made {made or "none"} of the {due} prune steps due by iteration '
            f'{iteration}, where it is resumed. Use load_from without resume to start a new run '
            f'from its weights, or a PruningHook.prune_begin after iteration {iteration}'
        )


def can_rank(pruner: Pruner, schedule: PruningSchedule, step: int, *, chosen: bool) -> bool:
    """Whether channels can be ranked; if not, the prune step is left to the next one.

    Args:
        pruner: Of the run.
        schedule: Of the run.
        step: Number of the prune step.
        chosen: Whether it is known which channels go, without asking the importance.

    Raises:
        ValueError: If there is no next one.
    """
    importance = pruner.importance
    if pruner.observed or not importance.needs_gradients or chosen:
        return True
    message = (
        f'Prune step {step + 1}/{schedule.prune_steps}: {type(importance).__name__} has seen no '
        f'gradient yet, or none since the last prune step; a gradient scaler skips steps that '
        f'overflow'
    )
    if step == schedule.prune_steps - 1:
        raise ValueError(f'{message}. Raise PruningHook.prune_begin or prune_interval')
    print_log(
        f'{message}. The next prune step makes up for it',
        logger='current',
        level=logging.WARNING,
    )
    return False
