import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from adasap_det.pruning.budgets.knapsack import BlockChoice, select_by_knapsack


@dataclass
class Group:
    name: str
    size: int
    parts: int = 1


class Separable:
    """Each group has its own price list."""

    def __init__(self, prices):
        self.prices = prices

    def of_group(self, name, kept):
        return self.prices[name][kept[name]]

    def cost(self, kept):
        return sum(self.of_group(name, kept) for name in self.prices)


class Chain:
    """Layers between neighbours: the product of their channels."""

    def __init__(self, *names):
        self.pairs = list(itertools.pairwise(names))
        self.ends = names[0], names[-1]

    def cost(self, kept):
        inner = sum(kept[a] * kept[b] for a, b in self.pairs)
        return 3 * kept[self.ends[0]] + inner + 2 * kept[self.ends[1]]

    def of_group(self, name, kept):
        without = self.cost({**kept, name: 0})
        return self.cost(kept) - without


def kept_value(kept, groups, scores):
    return sum(float(s[kept[g.name]].sum()) for g, s in zip(groups, scores, strict=True))


def best_by_trying_all(groups, scores, cost, limit):
    best = 0.0
    for counts in itertools.product(*(range(1, g.size + 1) for g in groups)):
        kept = {g.name: c for g, c in zip(groups, counts, strict=True)}
        if cost.cost(kept) <= limit:
            value = sum(
                float(s.sort(descending=True).values[:c].sum())
                for s, c in zip(scores, counts, strict=True)
            )
            best = max(best, value)
    return best


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('ratio', [0.3, 0.6, 0.9])
def test_knapsack_is_optimal_for_independent_costs(seed, ratio):
    """Prices rise in uneven steps, so that neither by score nor by score per cost is right."""
    generator = torch.Generator().manual_seed(seed)
    groups = [Group('a', 6), Group('b', 5), Group('c', 7)]
    scores = [torch.rand(g.size, generator=generator) for g in groups]
    prices = {
        g.name: [0.0, *torch.rand(g.size, generator=generator).cumsum(0).tolist()] for g in groups
    }
    cost = Separable(prices)
    limit = ratio * cost.cost({g.name: g.size for g in groups})
    kept = select_by_knapsack(groups, scores, cost, limit=limit)
    assert cost.cost({n: len(c) for n, c in kept.items()}) <= limit
    best = best_by_trying_all(groups, scores, cost, limit)
    assert kept_value(kept, groups, scores) >= best * (1 - 1e-3)  # the solver's gap


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('ratio', [0.3, 0.5, 0.8])
def test_knapsack_is_near_optimal_for_coupled_layers(seed, ratio):
    generator = torch.Generator().manual_seed(seed)
    groups = [Group('a', 8), Group('b', 6), Group('c', 8)]
    scores = [torch.rand(g.size, generator=generator) for g in groups]
    cost = Chain('a', 'b', 'c')
    limit = ratio * cost.cost({g.name: g.size for g in groups})
    kept = select_by_knapsack(groups, scores, cost, limit=limit)
    assert cost.cost({n: len(c) for n, c in kept.items()}) <= limit
    best = best_by_trying_all(groups, scores, cost, limit)
    assert kept_value(kept, groups, scores) >= 0.9 * best


def test_most_important_channels_of_a_group_are_kept():
    score = torch.tensor([0.1, 0.9, 0.5, 0.7])
    cost = Separable({'a': [0, 1, 2, 3, 4]})
    kept = select_by_knapsack([Group('a', 4)], [score], cost, limit=2.0)
    assert kept['a'].tolist() == [1, 3]


def test_parts_and_rounding():
    score = torch.arange(6.0).repeat(4)
    cost = Separable({'a': list(range(25))})
    kept = select_by_knapsack([Group('a', 24, parts=4)], [score], cost, limit=15, round_to=6)
    assert kept['a'].tolist() == [3, 4, 5, 9, 10, 11, 15, 16, 17, 21, 22, 23]


def test_given_counts_are_kept_and_the_limit_decides_on_the_others():
    groups = [Group('a', 4), Group('b', 4)]
    cost = Separable({'a': [0, 1, 2, 3, 4], 'b': [0, 1, 2, 3, 4]})
    score = torch.tensor([0.1, 0.9, 0.5, 0.7])
    kept = select_by_knapsack(groups, [score, 9 * score], cost, limit=5.0, fixed={'b': 2})
    assert {name: channels.tolist() for name, channels in kept.items()} == {
        'a': [1, 2, 3], 'b': [1, 3],
    }  # fmt: skip


def test_limit_already_met_prunes_nothing():
    cost = Separable({'a': [0, 1, 2]})
    kept = select_by_knapsack([Group('a', 2)], [torch.ones(2)], cost, limit=2.0)
    assert kept['a'].tolist() == [0, 1]


def test_unreachable_limit_reports_the_minimum():
    cost = Separable({'a': [1, 5, 6, 7, 8]})
    with pytest.raises(ValueError, match=r'cost of 4.*it is 6'):
        select_by_knapsack([Group('a', 4)], [torch.ones(4)], cost, limit=4.0, min_keep_ratio=0.5)


def test_selection_is_invariant_to_score_scale():
    """Taylor scores are often 1e-9: below a solver's tolerance unless put on its scale."""
    score = torch.tensor([3.0, 1.0, 2.0])
    cost = Separable({'a': [0, 1, 2, 3], 'b': [0, 1, 2, 3]})
    groups = [Group('a', 3), Group('b', 3)]
    kept = [
        select_by_knapsack(groups, [score * scale, score * scale / 2], cost, limit=4.0)
        for scale in (1.0, 1e-12)
    ]
    for name in ('a', 'b'):
        assert kept[0][name].tolist() == kept[1][name].tolist()


class Blocks:
    """A stream between blocks of one inner group each, as in a residual network."""

    def __init__(self, *inner):
        self.inner = inner

    def cost(self, kept):
        return 3 * kept['stream'] + sum(self.of_group(f'block {name}', kept) for name in self.inner)

    def of_group(self, name, kept):
        if name == 'stream':
            return self.cost(kept)
        inner = name.removeprefix('block ')
        return kept[f'block {inner}'] * (2 * kept['stream'] * kept[inner] + 5)


def best_of_blocks(groups, scores, blocks, cost, limit):
    best = math.inf
    for stays in itertools.product((0, 1), repeat=len(blocks)):
        for counts in itertools.product(*(range(1, g.size + 1) for g in groups)):
            kept = {g.name: c for g, c in zip(groups, counts, strict=True)}
            kept |= {b.name: s for b, s in zip(blocks, stays, strict=True)}
            if cost.cost(kept) <= limit:
                best = min(best, loss_of_blocks(groups, scores, blocks, kept))
    return best


def loss_of_blocks(groups, scores, blocks, kept):
    gone = [b for b in blocks if not kept[b.name]]
    inside = [name for b in gone for name in b.inner]
    return sum(b.score for b in gone) + sum(
        float(s.sort().values[: g.size - kept[g.name]].sum())
        for g, s in zip(groups, scores, strict=True)
        if g.name not in inside
    )


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('ratio', [0.3, 0.5, 0.8])
def test_blocks_and_channels_are_chosen_together_near_the_optimum(seed, ratio):
    generator = torch.Generator().manual_seed(seed)
    groups = [Group('stream', 5), Group('a', 4), Group('b', 4), Group('c', 4)]
    scores = [torch.rand(g.size, generator=generator) for g in groups]
    blocks = [
        BlockChoice(f'block {name}', 2 * float(torch.rand((), generator=generator)), (name,))
        for name in 'abc'
    ]
    cost = Blocks('a', 'b', 'c')
    limit = ratio * cost.cost({g.name: g.size for g in groups} | {b.name: 1 for b in blocks})
    kept = select_by_knapsack(groups, scores, cost, limit=limit, blocks=blocks)
    counts = {name: len(channels) for name, channels in kept.items()}
    assert set(counts) == {g.name for g in groups} | {b.name for b in blocks}
    assert cost.cost(counts) <= limit
    best = best_of_blocks(groups, scores, blocks, cost, limit)
    assert loss_of_blocks(groups, scores, blocks, counts) <= 1.15 * best + 0.05


def test_the_cost_inside_of_a_removed_block_is_not_saved_twice():
    """Without the block, 11 remain; its channels alone would seem to save 10 more."""
    groups = [Group('stream', 1), Group('a', 5)]
    scores = [torch.ones(1), torch.ones(5)]
    cost = Blocks('a')  # 3 + 2 * 5 + 5 = 18
    cheap, dear = (BlockChoice('block a', score, ('a',)) for score in (0.5, 9.0))
    kept = select_by_knapsack(groups, scores, cost, limit=12, blocks=[cheap])
    assert not kept['block a'].numel()
    kept = select_by_knapsack(groups, scores, cost, limit=12, blocks=[dear])
    assert kept['block a'].tolist() == [0]
    assert len(kept['a']) == 2  # 3 + 2 * 2 + 5 = 12


def test_a_block_goes_where_its_channels_would_lose_more():
    groups = [Group('stream', 1), Group('a', 5), Group('b', 5)]
    scores = [torch.ones(1), torch.ones(5), torch.ones(5)]
    blocks = [BlockChoice('block a', 2.0, ('a',)), BlockChoice('block b', 2.5, ('b',))]
    kept = select_by_knapsack(groups, scores, Blocks('a', 'b'), limit=18, blocks=blocks)
    assert {name: len(channels) for name, channels in kept.items() if name != 'a'} == {
        'stream': 1, 'b': 5, 'block a': 0, 'block b': 1,
    }  # fmt: skip
