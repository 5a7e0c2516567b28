from dataclasses import replace

import pytest

from adasap_det.pruning.budgets.latency.grid import Grid
from adasap_det.pruning.budgets.latency.latency_cost import (
    FIXED,
    MOST_LEARNED,
    SELECTED_WEIGHT,
    LatencyCost,
    LatencyTerm,
    LayerTotals,
    Measured,
    Overhead,
    fit_overhead,
)

PRODUCT = Grid((0, 10), (0, 10), ((0.0, 0.0), (0.0, 100.0)))  # inputs times outputs
ALONG = Grid((0, 10), (1,), ((0.0,), (20.0,)))  # twice the channels


@pytest.fixture
def cost():
    """An image of 3 channels into a; a over itself depthwise; a and two fixed channels into b."""
    a, b = (0.0, (('a', 1.0),)), (0.0, (('b', 1.0),))
    terms = [
        LatencyTerm('first', PRODUCT, (3.0, ()), a, False, 5.0, 9.0),
        LatencyTerm('depth', ALONG, a, a, True, 5.0, 9.0),
        LatencyTerm('last', PRODUCT, (2.0, (('a', 1.0),)), b, False, 1.0, 1.0),
    ]
    cost = LatencyCost(terms, {'a': 8, 'b': 4})
    cost.overhead = Overhead(fixed=7.0, per_element=0.5, per_weight=0.25, scale=2.0)
    return cost


def test_by_hand(cost):
    kept = {'a': 4, 'b': 2}
    expected = {
        'first': 2 * 3 * 4 + 0.5 * 5 * 4 + 0.25 * 9 * 3 * 4,
        'depth': 2 * 2 * 4 + 0.5 * 5 * 4 + 0.25 * 9 * 4,
        'last': 2 * (2 + 4) * 2 + 0.5 * 1 * 2 + 0.25 * (2 + 4) * 2,
        FIXED: 7.0,
    }
    assert cost.by_layer(kept) == pytest.approx(expected)
    assert cost.cost(kept) == pytest.approx(sum(expected.values()))
    assert cost.cost() == cost.cost({'a': 8, 'b': 4})


def test_what_a_group_changes_is_in_its_own_part(cost):
    """The marginal cost of a group, all layers on both sides of it counted."""
    for less in ({'a': 3, 'b': 4}, {'a': 8, 'b': 1}):
        (name,) = (n for n in less if less[n] != cost.full[n])
        assert cost.of_group(name, cost.full) - cost.of_group(name, less) == pytest.approx(
            cost.cost() - cost.cost(less)
        )


def test_a_removed_block_saves_its_layers_and_its_share_of_the_overhead(cost):
    terms = [replace(term, block='net') if term.layer != 'last' else term for term in cost._terms]
    blocks = LatencyCost(terms, {'a': 8, 'b': 4, 'net': 1})
    blocks.overhead = cost.overhead
    kept = {'a': 4, 'b': 2, 'net': 1}
    without = {**kept, 'net': 0}
    assert blocks.cost(kept) == pytest.approx(cost.cost({'a': 4, 'b': 2}))
    last = 2 * (2 + 4) * 2 + 0.5 * 1 * 2 + 0.25 * (2 + 4) * 2
    assert blocks.by_layer(without) == pytest.approx(
        {'first': 0, 'depth': 0, 'last': last, FIXED: 7 / 3}
    )
    assert blocks.of_group('net', without) == 0
    assert blocks.of_group('net', kept) == pytest.approx(blocks.cost(kept) - blocks.cost(without))
    assert blocks.layer_totals(without) == LayerTotals((2 + 4) * 2, 2, (2 + 4) * 2, 1 / 3)


def test_overhead_is_recovered():
    layers = [
        LayerTotals(10.0, 8e6, 5e6),
        LayerTotals(6.0, 7e6, 1e6),
        LayerTotals(3.0, 2e6, 2e6),
        LayerTotals(4.0, 1e6, 1e5),
        LayerTotals(5.0, 5e6, 4e6),
    ]
    times = [1.5 + 2e-7 * a.elements + 3e-7 * a.weights + 0.9 * a.ms for a in layers]
    overhead = fit_overhead([Measured(ms, alone) for ms, alone in zip(times, layers, strict=True)])
    found = overhead.fixed, overhead.per_element, overhead.per_weight, overhead.scale
    assert found == pytest.approx((1.5, 2e-7, 3e-7, 0.9))


def test_overhead_terms_are_not_negative():
    """Faster than its layers: scaled, not paid back."""
    overhead = fit_overhead(
        [Measured(5.0, LayerTotals(10.0, 1e6, 1e6)), Measured(2.5, LayerTotals(5.0, 1e5, 1e4))]
    )
    assert overhead.scale == pytest.approx(0.5)
    for part in (overhead.fixed, overhead.per_element, overhead.per_weight):
        assert part == pytest.approx(0, abs=1e-9)


def test_the_network_to_be_pruned_is_explained_exactly():
    """Three networks that no rest explains: twice the layers in less time."""
    networks = [
        Measured(ms, LayerTotals(ms_alone, 0.0, 0.0)) for ms, ms_alone in ((8, 9), (9, 4), (2, 3))
    ]
    overhead = fit_overhead(networks)
    assert overhead.fixed + 9 * overhead.scale == pytest.approx(8)


def test_overhead_learns_from_measured_pruned_networks(cost):
    """Half as slow again as predicted: now in between, and what was to be pruned as before."""
    kept = {'a': 2, 'b': 2}
    dense, least = {'a': 8, 'b': 4}, {'a': 1, 'b': 1}
    start = [Measured(cost.cost(k), cost.layer_totals(k), w) for k, w in ((dense, 3), (least, 1))]
    learner = LatencyCost(cost._terms, cost.full, start)
    before = learner.cost(kept)
    learner.learn(kept, 1.5 * before)
    assert learner.networks[-1] == Measured(1.5 * before, cost.layer_totals(kept), SELECTED_WEIGHT)
    assert learner.cost() == pytest.approx(cost.cost())
    assert learner.cost(kept) > 1.1 * before
    for _ in range(2 * MOST_LEARNED):
        learner.learn(kept, before)
    assert len(learner.networks) == len(start[:2]) + MOST_LEARNED
    assert learner.networks[:2] == start[:2]
    assert learner.cost(kept) == pytest.approx(before, rel=0.01)
