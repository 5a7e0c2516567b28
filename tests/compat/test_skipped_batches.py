"""Batches that a resumed run skips do not change the random numbers of later ones."""

from __future__ import annotations

import random
from types import SimpleNamespace

from adasap_det.compat.skipped_batches import seed_each_batch


def loop(draws=(1, 3, 2, 1, 5)):
    """Loop as in MMEngine 0.10.7, with a plain iterator; batches draw different amounts."""
    batches = ([random.random() for _ in range(count)] for count in draws)
    return SimpleNamespace(dataloader_iterator=batches)


def test_batch_draws_the_same_numbers_after_trained_and_after_skipped_batches():
    trained = loop()
    seed_each_batch(trained, random.seed)
    expected = []
    for _ in range(5):
        expected.append(next(trained.dataloader_iterator))
        random.random()  # drawn by a training step
    resumed = loop()
    seed_each_batch(resumed, random.seed)
    after_skipping = [next(resumed.dataloader_iterator) for _ in range(5)]
    assert after_skipping == expected
    assert expected[3] == [random.Random(3).random()]


def test_iterators_that_can_skip_are_not_wrapped():
    skips = SimpleNamespace(skip_iter=lambda count: None)
    by_epoch = SimpleNamespace()
    new = SimpleNamespace(dataloader_iterator=skips)
    seed_each_batch(new, random.seed)
    seed_each_batch(by_epoch, random.seed)
    assert new.dataloader_iterator is skips
    assert not hasattr(by_epoch, 'dataloader_iterator')
