"""The optimizer wrapper's side of pruning in training: stages, radii and observed gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from adasap_det.optim.grad_scaler import step_is_taken, unscaled_gradients
from adasap_det.optim.optim_wrapper import STAGES, SharpnessAwareMixin
from adasap_det.pruning.pruner import Pruner

from .channel_rows import channel_rows
from .schedule import PruningSchedule


class PerturbationStages:
    """Sets the stages of AdaSAP's wrapper; with any other wrapper it only lets gradients be seen.

    Args:
        runner: Of the run.
        pruner: Of its model.
        schedule: When each stage begins.
        perturbation: Stage of the wrapper by stage of the schedule.
        score_interval: Iterations between two updates of the radii.
    """

    def __init__(
        self,
        runner: Runner,
        pruner: Pruner,
        schedule: PruningSchedule,
        *,
        perturbation: Mapping[str, str],
        score_interval: int,
    ) -> None:
        self._runner = runner
        self._pruner = pruner
        self._schedule = schedule
        self._perturbation = perturbation
        self._interval = score_interval
        self._scores: list[Tensor] | None = None
        self._logged = False
        self._set_channels()
        if pruner.importance.needs_gradients:
            self._observe_gradients()

    def begin_iteration(self) -> None:
        """Set the stage, and from time to time the radii."""
        runner, wrapper = self._runner, self._wrapper
        if wrapper is None:
            return
        stage = self._perturbation[self._schedule.stage(runner.iter)]
        changed = stage != wrapper.stage or not self._logged
        if changed:
            self._logged = True
            print_log(f'AdaSAP stage {stage!r} from iteration {runner.iter}', logger='current')
        wrapper.stage = stage
        runner.message_hub.update_scalar('train/stage', STAGES.index(stage))
        if not wrapper.by_channel:
            return
        if self._scores is None or runner.iter % self._interval == 0:
            importance = self._pruner.importance
            scores = importance.scores(self._pruner.groups, self._pruner.model)
            self._scores = scores if importance.known else None
            if self._scores is None and changed:
                print_log(
                    f'{type(importance).__name__} knows no importance yet: until it does, '
                    f'all channels have the same radius',
                    logger='current',
                )
            wrapper.set_scores(scores)
        elif changed:
            wrapper.set_scores(self._scores)

    def renew(self) -> None:
        """Take the channels that a prune step has left."""
        self._scores = None
        self._set_channels()

    def state_dict(self) -> list[Tensor]:
        """The scores that the radii follow; none before there are any."""
        return [score.cpu() for score in self._scores or []]

    def load_state_dict(self, scores: list[Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._scores = list(scores) or None

    @property
    def _wrapper(self) -> SharpnessAwareMixin | None:
        wrapper = self._runner.optim_wrapper
        return wrapper if isinstance(wrapper, SharpnessAwareMixin) else None

    def _set_channels(self) -> None:
        if self._wrapper is not None:
            self._wrapper.set_channels(channel_rows(self._pruner.model, self._pruner.groups))

    def _observe_gradients(self) -> None:
        """Let the importance see the gradients of every step before the last prune step.

        Those at the real weights where AdaSAP's wrapper has them, else those of the step.
        """

        def observe() -> None:
            if self._runner.iter < self._schedule.last_prune_step:
                self._pruner.observe()

        def observe_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if step_is_taken(optimizer):
                with unscaled_gradients(optimizer):
                    observe()

        if self._wrapper is not None:
            self._wrapper.gradient_observers.append(observe)
            return
        for optimizer in self._pruner.optimizers:
            optimizer.register_step_pre_hook(observe_step)
