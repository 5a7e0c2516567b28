import itertools
from dataclasses import dataclass

import pytest
import torch

from adasap_det.pruning.budgets.selection import (
    TOLERANCE,
    ascending_channels,
    channel_counts,
    exponential_target,
    possible_counts,
    select_channels,
)
from adasap_det.pruning.graph.channel_group import ChannelGroup


@dataclass(frozen=True)
class Group:
    name: str
    size: int
    parts: int = 1


@dataclass(frozen=True)
class Segmented(Group):
    segments: tuple = ()


class Product:
    """Like a network of layers in a row: sum of products of neighbours' channels."""

    def __init__(self, *names):
        self.names = names

    def cost(self, kept):
        counts = [3, *(kept[name] for name in self.names), 2]
        return float(sum(a * b for a, b in itertools.pairwise(counts)))


def test_target_falls_exponentially():
    shares = [exponential_target(a, initial=1.0, final=0.25) for a in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([1.0, 0.5, 0.25])


@pytest.mark.parametrize(
    ('options', 'counts'),
    [
        (dict(size=5, dense=5, parts=1, round_to=1, min_keep_ratio=0.0), [5, 4, 3, 2, 1]),
        (dict(size=5, dense=5, parts=1, round_to=1, min_keep_ratio=0.5), [5, 4, 3]),
        (dict(size=20, dense=20, parts=1, round_to=8, min_keep_ratio=0.0), [20, 16, 8]),
        (dict(size=16, dense=32, parts=1, round_to=8, min_keep_ratio=0.4), [16]),
        (dict(size=24, dense=24, parts=4, round_to=6, min_keep_ratio=0.0), [24, 12]),
        (dict(size=6, dense=6, parts=1, round_to=8, min_keep_ratio=0.0), [6]),
    ],
)
def test_allowed_channel_counts_of_a_group(options, counts):
    assert channel_counts(**options) == counts


def test_least_important_channels_are_pruned_first_across_groups():
    groups = [Group('a', 3), Group('b', 3)]
    scores = [torch.tensor([0.1, 5.0, 0.4]), torch.tensor([3.0, 0.2, 4.0])]
    kept = select_channels(groups, scores, Product('a', 'b'), limit=16.0)
    # 24 whole; without a[0] 19, without b[1] 14.
    assert {name: channels.tolist() for name, channels in kept.items()} == {
        'a': [1, 2],
        'b': [0, 2],
    }


def by_hand(groups, scores, cost, limit):
    """Channels removed one by one in the order of their scores, and given back where they fit."""
    ranked = sorted(
        (float(s), g.name, i)
        for g, score in zip(groups, scores, strict=True)
        for i, s in enumerate(score)
    )
    kept = {g.name: set(range(g.size)) for g in groups}
    removed = []
    for _, name, index in ranked:
        if cost.of(kept) <= limit:
            break
        if len(kept[name]) > 1:
            kept[name].remove(index)
            removed.append((name, index))
    for name, index in reversed(removed):
        more = {**kept, name: kept[name] | {index}}
        if cost.of(more) <= limit:
            kept = more
    return kept


class CountedProduct(Product):
    def of(self, kept):
        return self.cost({name: len(channels) for name, channels in kept.items()})


def random_case(seed):
    generator = torch.Generator().manual_seed(seed)
    groups = [Group('a', 14), Group('b', 15), Group('c', 13)]
    scores = [torch.rand(g.size, generator=generator) for g in groups]
    cost = CountedProduct('a', 'b', 'c')
    ratio = 0.3 + 0.6 * float(torch.rand((), generator=generator))
    return groups, scores, cost, ratio * cost.cost({g.name: g.size for g in groups})


def test_channels_go_in_the_order_of_importance_and_come_back_where_they_fit():
    close = 0
    for seed in range(40):
        groups, scores, cost, limit = random_case(seed)
        expected = by_hand(groups, scores, cost, limit)
        kept = select_channels(groups, scores, cost, limit=limit)
        found = {name: set(channels.tolist()) for name, channels in kept.items()}
        if cost.of(expected) >= (1 - TOLERANCE) * limit:
            assert found == expected
            close += 1
        else:
            assert cost.of(expected) <= cost.of(found) <= limit
    assert close > 20


def test_order_of_the_groups_does_not_matter():
    for seed in range(10):
        groups, scores, cost, limit = random_case(seed)
        kept = select_channels(groups, scores, cost, limit=limit, round_to=3)
        again = select_channels(groups[::-1], scores[::-1], cost, limit=limit, round_to=3)
        assert {n: c.tolist() for n, c in kept.items()} == {n: c.tolist() for n, c in again.items()}


@pytest.mark.parametrize('round_to', [1, 2, 5])
@pytest.mark.parametrize('seed', range(8))
def test_cost_is_within_the_limit_and_no_further_step_fits(seed, round_to):
    generator = torch.Generator().manual_seed(seed)
    groups = [
        Group('a', 24),
        Group('b', 12, parts=3),
        Segmented('c', 20, segments=(torch.arange(8), torch.arange(8, 20))),
    ]
    scores = [torch.rand(g.size // g.parts, generator=generator).repeat(g.parts) for g in groups]
    cost = Product('a', 'b', 'c')
    for ratio in (0.35, 0.5, 0.8):
        limit = ratio * cost.cost({g.name: g.size for g in groups})
        kept = select_channels(groups, scores, cost, limit=limit, round_to=round_to)
        counts = {name: len(channels) for name, channels in kept.items()}
        assert cost.cost(counts) <= limit
        for group, score in zip(groups, scores, strict=True):
            count = counts[group.name]
            larger = [
                c for c in possible_counts(group, round_to=round_to, min_keep_ratio=0) if c > count
            ]
            assert not larger or cost.cost({**counts, group.name: larger[-1]}) > limit
            # The most important channels are kept, of each part and segment at least one.
            order = ascending_channels(group, score)
            assert kept[group.name].tolist() == sorted(order[group.size - count :].tolist())
            per_part = kept[group.name].reshape(group.parts, -1) % (group.size // group.parts)
            assert (per_part == per_part[0]).all()
            for segment in getattr(group, 'segments', ()):
                assert segment[score[segment].argmax()] in kept[group.name]


def test_a_large_step_is_exchanged_for_small_ones_to_use_the_limit():
    """All channels cost 240. Least important is half of b, without which 160 remain."""

    class Sum:
        def cost(self, kept):
            return 10.0 * kept['b'] + 5.0 * kept['a']

    groups = [Group('a', 16), Group('b', 16)]
    scores = [torch.full((16,), 2.0), torch.ones(16)]
    kept = select_channels(groups, scores, Sum(), limit=200.0, round_to=8)
    assert {n: len(c) for n, c in kept.items()} == {'a': 8, 'b': 16}
    # Where the first selection is close enough, importance alone decides.
    kept = select_channels(groups, scores, Sum(), limit=162.0, round_to=8)
    assert {n: len(c) for n, c in kept.items()} == {'a': 16, 'b': 8}


def test_rounding_keeps_multiples_or_everything():
    groups = [Group('a', 20), Group('b', 6)]
    scores = [torch.arange(20.0), torch.arange(6.0)]
    kept = select_channels(groups, scores, Product('a', 'b'), limit=150.0, round_to=8)
    assert kept['a'].tolist() == list(range(12, 20))
    assert kept['b'].tolist() == list(range(6))


def test_parts_lose_the_same_channels():
    scores = [torch.tensor([3.0, 1.0, 2.0, 3.0, 1.0, 2.0])]
    kept = select_channels([Group('a', 6, parts=2)], scores, Product('a'), limit=20.0)
    assert kept['a'].tolist() == [0, 2, 3, 5]


def test_parts_and_rounding_together():
    """Four parts in steps of six: the counts left are multiples of twelve."""
    score = torch.arange(6.0).repeat(4)
    kept = select_channels(
        [Group('a', 24, parts=4)], [score], Product('a'), limit=100.0, round_to=6
    )
    assert kept['a'].tolist() == [3, 4, 5, 9, 10, 11, 15, 16, 17, 21, 22, 23]


def test_keep_ratio_refers_to_the_dense_model():
    groups = [Group('a', 5)]
    options = dict(limit=15.0, min_keep_ratio=0.4)
    kept = select_channels(groups, [torch.arange(5.0)], Product('a'), **options)
    assert kept['a'].tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match=r'fewest channels allowed it is 20'):
        select_channels(groups, [torch.arange(5.0)], Product('a'), **options, dense_sizes={'a': 10})


def test_given_counts_are_kept_and_the_limit_decides_on_the_others():
    groups = [Group('a', 4), Group('b', 4)]
    score = torch.tensor([0.1, 0.9, 0.5, 0.7])
    options = dict(fixed={'b': 2})
    kept = select_channels(groups, [score, 9 * score], Product('a', 'b'), limit=19.0, **options)
    assert {n: c.tolist() for n, c in kept.items()} == {'a': [1, 2, 3], 'b': [1, 3]}
    with pytest.raises(ValueError, match='fewest channels allowed it is 9'):
        select_channels(groups, [score, score], Product('a', 'b'), limit=8.0, **options)


def test_limit_already_met_prunes_nothing():
    kept = select_channels([Group('a', 5)], [torch.ones(5)], Product('a'), limit=25.0)
    assert kept['a'].tolist() == [0, 1, 2, 3, 4]


def test_ties_are_broken_deterministically():
    groups = [Group('b', 4), Group('a', 4)]
    scores = [torch.ones(4), torch.ones(4)]
    first = select_channels(groups, scores, Product('a', 'b'), limit=20.0)
    again = select_channels(groups[::-1], scores, Product('a', 'b'), limit=20.0)
    assert {n: c.tolist() for n, c in first.items()} == {n: c.tolist() for n, c in again.items()}


def test_unreachable_limit_reports_the_minimum():
    groups = [Group('a', 4), Group('b', 4)]
    cost = Product('a', 'b')
    with pytest.raises(ValueError, match=r'cost of 5.*it is 14'):
        select_channels(groups, [torch.ones(4)] * 2, cost, limit=5.0, min_keep_ratio=0.5)


def test_never_empty():
    groups = [Group('a', 4), Group('b', 4)]
    scores = [torch.zeros(4), torch.ones(4)]
    kept = select_channels(groups, scores, Product('a', 'b'), limit=6.0)
    assert {n: c.numel() for n, c in kept.items()} == {'a': 1, 'b': 1}


def test_every_segment_keeps_its_best_channel():
    """Channels 0 to 2 are one layer's, all worth less than the rest: one of them stays."""
    group = Segmented('a', 6, segments=(torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])))
    score = torch.tensor([0.1, 0.3, 0.2, 5.0, 6.0, 7.0])
    kept = select_channels([group], [score], Product('a'), limit=10.0)
    assert kept['a'].tolist() == [1, 5]
    kept = select_channels([group], [score], Product('a'), limit=15.0)
    assert kept['a'].tolist() == [1, 4, 5]
    with pytest.raises(ValueError, match='fewest channels allowed it is 10'):
        select_channels([group], [score], Product('a'), limit=9.0)


@pytest.mark.parametrize(
    ('width', 'round_to', 'counts'),
    [
        (32, 8, [6, 5, 4, 3, 2, 1]),  # each head is a multiple of 8 by itself
        (6, 4, [6, 4, 2]),  # two heads of six are one of four
        (1, 4, [6, 4]),
    ],
)
def test_rounding_counts_the_positions_of_a_channel(width, round_to, counts):
    group = ChannelGroup('heads', size=6, own=(), consumers=(), layers=('heads',), width=width)
    assert possible_counts(group, round_to=round_to, min_keep_ratio=0.1) == counts
