"""Random numbers of the batches that a resumed run skips, in MMEngine 0.10.7 and before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def seed_each_batch(loop: Any, seed: Callable[[int], None]) -> None:
    """Seed before each batch of a loop by iterations, by the batch's number.

    MMEngine's ``IterBasedTrainLoop`` loads all the batches that a resumed run has seen and throws
    them away, in one go: what their augmentations draw moves the generators for the batch after
    them. The maintained line skips indices instead and loads nothing; there this does nothing.

    Args:
        loop: The training loop, before it runs.
        seed: Seeds all generators for the iteration of a number.
    """
    batches = getattr(loop, 'dataloader_iterator', None)
    if batches is None or hasattr(batches, 'skip_iter'):
        return
    loop.dataloader_iterator = _SeededBatches(batches, seed)


class _SeededBatches:
    def __init__(self, batches: Iterator[Any], seed: Callable[[int], None]) -> None:
        self.batches = batches
        self.seed = seed
        self.number = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.seed(self.number)
        self.number += 1
        return next(self.batches)
