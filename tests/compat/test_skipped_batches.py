"""Batches that a resumed run skips draw nothing from those after them."""

from __future__ import annotations

import random
from types import SimpleNamespace

from adasap_det.compat.skipped_batches import seed_each_batch


def loop(draws=(1, 3, 2, 1, 5)):
    """Of MMEngine 0.10.7: an iterator that can only go on. Batches draw more or less each."""
    batches = ([random.random() for _ in range(count)] for count in draws)
    return SimpleNamespace(dataloader_iterator=batches)


def test_a_batch_draws_the_same_whether_those_before_it_were_trained_on_or_skipped():
    trained = loop()
    seed_each_batch(trained, random.seed)
    expected = []
    for _ in range(5):
        expected.append(next(trained.dataloader_iterator))
        random.random()  # what a training step draws
    resumed = loop()
    seed_each_batch(resumed, random.seed)
    skipped_and_then = [next(resumed.dataloader_iterator) for _ in range(5)]
    assert skipped_and_then == expected
    assert expected[3] == [random.Random(3).random()]


def test_iterators_that_skip_by_themselves_are_left_alone():
    skips = SimpleNamespace(skip_iter=lambda count: None)
    by_epoch = SimpleNamespace()
    new = SimpleNamespace(dataloader_iterator=skips)
    seed_each_batch(new, random.seed)
    seed_each_batch(by_epoch, random.seed)
    assert new.dataloader_iterator is skips
    assert not hasattr(by_epoch, 'dataloader_iterator')
