"""Random numbers of the batches that a resumed run skips (mmengine 0.10.7 and before)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def seed_each_batch(loop: Any, seed: Callable[[int], None]) -> None:
    """Seed the generators before each batch of an iteration-based loop, by the batch's number.

    On resuming, MMEngine's ``IterBasedTrainLoop`` loads and discards all batches that were already
    used; their augmentations advance the generators that the next batch draws from.
    onedl-mmengine skips indices and loads nothing; there this does nothing.

    Args:
        loop: Training loop, before it runs.
        seed: Function that seeds all generators for an iteration's number.
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
