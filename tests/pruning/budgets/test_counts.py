import pytest
from torchvision.models import mobilenet_v2

from adasap_det.pruning import (
    MACsBudget,
    MagnitudeImportance,
    ParamsBudget,
    find_channel_groups,
)
from adasap_det.pruning.graph.tracing import example_image


def rep_vgg():
    return pytest.importorskip('mmpretrain.models').RepVGG('A0')


@pytest.fixture(scope='module', params=[mobilenet_v2, rep_vgg])
def network(request):
    model = request.param()
    groups = find_channel_groups(model, example_image((32, 32))).groups
    return model, groups, MagnitudeImportance().scores(groups, model)


@pytest.mark.parametrize('budget', [ParamsBudget(keep_ratio=0.5), MACsBudget(keep_ratio=0.5)])
@pytest.mark.parametrize('round_to', [1, 8, 32])
def test_budgets_are_met_within_two_percent(network, budget, round_to):
    model, groups, scores = network
    plan = budget.plan(model, groups, example_image((32, 32)))
    dense = plan.cost.cost()
    options = dict(round_to=round_to, min_keep_ratio=0.1)
    kept = plan.select(scores, limit=budget.limit(dense), **options)
    cost = plan.cost.cost({name: len(channels) for name, channels in kept.items()})
    assert 0.48 * dense <= cost <= 0.5 * dense
