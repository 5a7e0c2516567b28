import pytest
import torch

from adasap_det.pruning import find_channel_groups, prune_channels
from adasap_det.pruning.budgets.latency.lookup import latency_cost
from adasap_det.pruning.budgets.latency.network_timing import Forward
from adasap_det.pruning.budgets.latency.table import LatencyTable
from adasap_det.pruning.graph.tracing import example_image

from ....helpers.toy import GroupedNet, ToyDetector, randomize

SIZE = (6, 6)
FORWARD = Forward(example_image(SIZE), 1, torch.float32, torch.device('cpu'))


def cost_of(model, table, **options):
    groups = find_channel_groups(model, example_image(SIZE)).groups
    return groups, latency_cost(model, groups, table, forward=FORWARD, quiet=True, **options)


@pytest.mark.parametrize('kind', [ToyDetector, GroupedNet])
def test_predicted_latency_matches_pruned_model(known_times, kind):
    """Known times, linear in each side: 1 ms, the layers, 1 us an element."""
    model = randomize(kind())
    table = LatencyTable({'device': 'abacus'})
    groups, cost = cost_of(model, table)
    overhead = cost.overhead
    assert (overhead.fixed, overhead.scale) == pytest.approx((1.0, 1.0), rel=0.05)
    assert overhead.per_element == pytest.approx(1e-3, rel=0.05)
    kept = {g.name: torch.arange(g.size).view(g.parts, -1)[:, 1:].flatten() for g in groups}
    predicted = cost.cost({name: len(channels) for name, channels in kept.items()})
    prune_channels(model, groups, kept)
    measured = len(known_times)
    _, after = cost_of(model, table)
    assert len(known_times) == measured  # the pruned model is in the table too
    assert after.cost() == pytest.approx(predicted)
    layers = [n for n, m in model.named_modules() if hasattr(m, 'out_channels')]
    assert set(layers) <= set(after.by_layer())


def test_missing_layer_timing_names_the_layer(known_times):
    with pytest.raises(ValueError, match=r'table of abacus has no times of stem .*3 to 8 channels'):
        cost_of(ToyDetector(), LatencyTable({'device': 'abacus'}), measure=False)


def test_missing_network_timing_is_an_error(known_times):
    table = LatencyTable({'device': 'abacus'})
    cost_of(ToyDetector(), table)
    table.networks.clear()
    with pytest.raises(ValueError, match='has all layers of this network but not the network'):
        cost_of(ToyDetector(), table, measure=False)


def test_real_times_of_a_real_network():
    model = ToyDetector()
    table = LatencyTable({'device': 'here'})
    groups, cost = cost_of(model, table)
    assert cost.cost() > 0
    assert cost.cost({g.name: 1 for g in groups}) <= cost.cost()
