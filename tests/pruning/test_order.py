import itertools
from dataclasses import dataclass

import pytest
import torch

from adasap_det.pruning import MagnitudeImportance, ParamsBudget, Pruner, count_params
from adasap_det.pruning.order import RemovalOrder, removal_order

from ..helpers.toy import ToyDetector


@dataclass(frozen=True)
class Group:
    name: str
    size: int
    parts: int = 1


class Chain:
    """Cost of layers in a row: sum of products of neighbours' channels."""

    def __init__(self, **sizes):
        self.sizes = sizes

    def cost(self, kept=None):
        counts = [3, *(self.sizes if kept is None else kept).values(), 2]
        return float(sum(a * b for a, b in itertools.pairwise(counts)))

    def of_group(self, name, kept):
        return self.cost(kept)


def order_of(scores, **options):
    groups = [Group(name, len(score)) for name, score in scores.items()]
    cost = Chain(**{name: len(score) for name, score in scores.items()})
    return removal_order(groups, [torch.tensor(s) for s in scores.values()], cost, **options), cost


def sequence(order):
    """Channels in the order in which they go, as (group, channel)."""
    found = [
        (int(rank), name, channel)
        for name, ranks in order.ranks.items()
        for channel, rank in enumerate(ranks)
        if rank < order.steps
    ]
    return [(name, channel) for _, name, channel in sorted(found)]


def test_channels_go_by_importance_alone_or_for_their_cost():
    # a costs 3 + 2 a channel, b 2 + 4: per cost 0.4, 0.8, 2, 4 (a) and 0.5, 1.5 (b).
    scores = {'a': [4.0, 2.0, 20.0, 10.0], 'b': [3.0, 9.0]}
    order, _ = order_of(scores, per_cost=True)
    expected = [('a', 1), ('b', 0), ('a', 0), ('a', 3)]
    assert sequence(order) == expected  # one channel of each stays
    alone, _ = order_of(scores)
    assert sequence(alone) == [('a', 1), ('b', 0), ('a', 0), ('a', 3)]
    scores = {'a': [4.0, 3.1, 20.0, 10.0], 'b': [3.3, 9.0]}
    assert sequence(order_of(scores, per_cost=True)[0])[:2] == [
        ('b', 0),
        ('a', 1),
    ]  # 0.55 before 0.62
    assert sequence(order_of(scores)[0])[:2] == [('a', 1), ('b', 0)]


def test_sizes_are_nested_and_within_their_limit():
    torch.manual_seed(0)
    order, cost = order_of({'a': torch.rand(9).tolist(), 'b': torch.rand(7).tolist()})
    before = None
    for limit in (cost.cost(), 60.0, 40.0, 20.0):
        removed = order.steps_within(limit, cost)
        kept = order.kept(removed)
        assert cost.cost({n: len(k) for n, k in kept.items()}) <= limit
        if removed:
            larger = order.kept(removed - 1)
            assert cost.cost({n: len(k) for n, k in larger.items()}) > limit
        if before is not None:
            assert all(set(kept[n].tolist()) <= set(before[n].tolist()) for n in kept)
        before = kept
    assert order.steps_within(cost.cost(), cost) == 0


def test_a_limit_below_the_fewest_channels_is_an_error():
    order, cost = order_of({'a': [1.0, 2.0], 'b': [1.0, 2.0]})
    with pytest.raises(ValueError, match=r'with the fewest channels allowed it is 6'):
        order.steps_within(5.0, cost)


def test_channels_go_in_steps_of_round_to_and_some_always_stay():
    order, _ = order_of({'a': [float(i) for i in range(10)]}, round_to=4, min_keep_ratio=0.4)
    assert order.steps == 2  # 10 to 8 to 4
    assert order.ranks['a'].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_state_belongs_to_its_network():
    order, _ = order_of({'a': [1.0, 2.0, 3.0], 'b': [2.0, 1.0]})
    groups = [Group('a', 3), Group('b', 2)]
    again = RemovalOrder.from_state_dict(order.state_dict(), groups)
    assert again.steps == order.steps
    assert all(torch.equal(again.ranks[n], rank) for n, rank in order.ranks.items())
    with pytest.raises(ValueError, match='another network: group b has 2 channels in it and 4'):
        RemovalOrder.from_state_dict(order.state_dict(), [Group('a', 3), Group('b', 4)])


def test_order_of_what_a_prune_step_has_left():
    order, _ = order_of({'a': [3.0, 1.0, 2.0, 4.0]})
    kept = order.kept(1)
    left = order.within(kept)
    assert left.ranks['a'].tolist() == [2, 1, 3]
    assert left.kept(2)['a'].tolist() == [0, 2]


def test_pruner_follows_an_order_in_one_step_or_several():
    def pruned(*ratios):
        torch.manual_seed(0)
        model = ToyDetector()
        pruner = Pruner(
            model,
            torch.rand(1, 3, 8, 8),
            importance=MagnitudeImportance(),
            budget=ParamsBudget(keep_ratio=0.5),
        )
        order, dense = pruner.removal_order(), count_params(model)
        for ratio in ratios:
            result = pruner.prune_to(ratio * dense, order=order)
            assert result.cost == count_params(model) <= ratio * dense
            order = order.within(result.kept)
        return model.state_dict()

    once, twice = pruned(0.4), pruned(0.8, 0.4)
    assert all(torch.equal(twice[name], tensor) for name, tensor in once.items())
