"""Random numbers that depend only on the seed and the iteration."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from adasap_det.compat.skipped_batches import seed_each_batch


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Seeds every generator in each iteration, so that a resumed run repeats an uninterrupted one.

    MMEngine's checkpoints hold no generator state; without this hook a resumed run draws other
    augmentations and other dropout masks. Exact for loaders without workers, and for workers
    that are restarted every epoch (``persistent_workers=False``) when resuming at an epoch's
    beginning; persistent workers keep a state of their own that nothing can restore.

    Under DDP on more than two processes set ``find_unused_parameters=True`` too. Without it DDP
    rebuilds its buckets after a wrapper's first iteration, which a resumed run has later;
    the ranks' gradients are then summed in another order, and the last bits differ.

    Needs ``randomness=dict(seed=...)``; without a seed MMEngine draws one and stores it in the
    checkpoint, from which a resumed run reads it.
    """

    # The last to run before and after an iteration: whatever other hooks draw has no effect.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        # Where a loader has no generator of its own, each new iterator over it draws from the
        # global one, at another iteration in a resumed run than in the first.
        loader = runner.train_dataloader
        if loader.generator is None:
            loader.generator = torch.Generator().manual_seed(runner.seed or 0)
        seed_each_batch(runner.train_loop, lambda number: self._seed(runner, number))
        if loader.num_workers and loader.persistent_workers:
            print_log(
                'RandomStateHook cannot restore the state of persistent workers: a resumed run '
                'will draw other augmentations. For runs that repeat set '
                'train_dataloader.persistent_workers=False',
                logger='current',
                level=logging.WARNING,
            )
        if runner.world_size > 2 and not getattr(runner.model, 'find_unused_parameters', True):
            print_log(
                f'RandomStateHook cannot keep the order in which DDP sums {runner.world_size} '
                f'gradients: the weights of a resumed run will differ in the last bits. For runs '
                f'that repeat set find_unused_parameters=True',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        self._seed(runner, runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        # The next batch is loaded before the next before_train_iter, so seed here.
        self._seed(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._seed(runner, runner.iter)

    @staticmethod
    def _seed(runner: Runner, iteration: int) -> None:
        entropy = np.random.SeedSequence((runner.seed or 0, runner.rank, iteration))
        first, second, third = (int(word) for word in entropy.generate_state(3))
        random.seed(first)
        np.random.seed(second)
        torch.manual_seed(third)
