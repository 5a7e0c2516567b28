"""Batch norm statistics that belong to the weights when a model is evaluated or saved."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from adasap_det.utils.model_recalibration import recalibrate_model
from adasap_det.utils.recalibration import running_norms

from .structure_hook import averaged_models, bare_model


@HOOKS.register_module()
class RecalibrationHook(Hook):
    """Re-estimates batch norm's running statistics before evaluations in training and at its end.

    Only of layers that train with the statistics of the batch; the running ones are an average
    over past weights, which matters where the weights change fast or have just been pruned. Layers
    that train with their running statistics (``norm_eval``, frozen stages) keep them, as they are
    part of what has been trained. Averaged copies of the model (EMA) are re-estimated as well.

    The images are those of the training data with their augmentation, the same ones each time,
    read by a loader of its own: the training's order of images and random numbers stay as they
    are. Costs a forward pass for each batch. :func:`adasap_det.recalibrate` describes the average.

    Comes after EMAHook, which copies the statistics from the model, and before CheckpointHook, so
    that what is evaluated is what is saved. Not needed beside PruningHook, which has it with
    ``recalibrate_batches``.

    Args:
        batches: Number of training batches, for each rank.

    Raises:
        ValueError: If ``batches`` is less than 1. Before training: if the runner was not given
            ``train_dataloader`` as a config.
    """

    priority = 'LOW'

    def __init__(self, *, batches: int = 40) -> None:
        if batches < 1:
            raise ValueError(f'RecalibrationHook.batches must be at least 1, got {batches}')
        self.batches = batches

    def before_train(self, runner: Runner) -> None:
        check_loader(runner)

    def after_train_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            self._recalibrate_if_due(runner, done=runner.epoch + 1, end=loop.max_epochs)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        loop = runner.train_loop
        if not isinstance(loop, EpochBasedTrainLoop):
            self._recalibrate_if_due(runner, done=runner.iter + 1, end=loop.max_iters)

    def _recalibrate_if_due(self, runner: Runner, *, done: int, end: int) -> None:
        if done == end or _evaluation_follows(runner, done):
            recalibrate_trained(runner, self.batches)


def check_loader(runner: Runner) -> None:
    """Check that another loader like the training's can be built.

    Raises:
        ValueError: If not.
    """
    if not runner.cfg.get('train_dataloader'):
        raise ValueError(
            'the batch norm statistics are re-estimated with a data loader like the one for '
            'training: give the runner train_dataloader as a config, or set recalibrate_batches=0'
        )


def recalibrate_trained(runner: Runner, batches: int) -> None:
    """Re-estimate the layers that train with the statistics of the batch; others keep theirs."""
    norms = running_norms(bare_model(runner))
    recalibrate_run(runner, batches, [name for name, norm in norms.items() if norm.training])


def recalibrate_pruned(runner: Runner, batches: int, *, last: bool) -> None:
    """Re-estimate all layers after the last prune step, or any if a layer needs it before.

    Until then only a layer that trains with its running statistics needs it: those of the larger
    network would be trained with. Any other finds new ones in training.
    """
    norms = running_norms(bare_model(runner))
    if last or not all(norm.training for norm in norms.values()):
        recalibrate_run(runner, batches, list(norms))


def recalibrate_run(runner: Runner, batches: int, layers: Sequence[str]) -> None:
    """Re-estimate layers of the runner's model and of its averaged copies; none on 0 batches."""
    if not (layers and batches):
        return
    print_log(
        f'Re-estimating the batch norm statistics of {len(layers)} layers on {batches} training '
        f'batches',
        logger='current',
    )
    for model in (bare_model(runner), *averaged_models(runner)):
        recalibrate_with(runner, model, batches, layers)


def recalibrate_with(
    runner: Runner, model: nn.Module, batches: int, layers: Sequence[str] | None = None
) -> None:
    """Re-estimate layers of any model, by default all, on training batches of the runner."""
    # The data set as it is now: a hook may have switched its pipeline. The loader copies it.
    loader: dict[str, Any] = {
        **runner.cfg.train_dataloader,
        'dataset': runner.train_dataloader.dataset,
    }
    recalibrate_model(model, loader, batches=batches, layers=layers, seed=runner.seed or 0)


def _evaluation_follows(runner: Runner, done: int) -> bool:
    """Whether MMEngine's loop evaluates after so many epochs or iterations."""
    loop = runner.train_loop
    if runner.val_loop is None or done < loop.val_begin:
        return False
    interval = loop.dynamic_intervals[bisect(loop.dynamic_milestones, done + 1) - 1]
    return done % interval == 0


def register_recalibration(runner: Runner, model: nn.Module, *, batches: int) -> None:
    """Re-estimate batch norm's statistics before evaluations of a run, if there are any.

    Args:
        runner: Of the run.
        model: Its model, without wrapper.
        batches: Training batches for each rank; 0 for none.
    """
    if batches and running_norms(model):
        runner.register_hook(RecalibrationHook(batches=batches))
    elif batches:
        print_log(
            f'PruningHook.recalibrate_batches={batches}: the model has no batch norm with running '
            f'statistics, so there is nothing to re-estimate',
            logger='current',
        )
