import pytest

from adasap_det.pruning import (
    MACsBudget,
    ParamsBudget,
    count_macs,
    count_params,
    find_channel_groups,
)
from adasap_det.pruning.budgets.budget import check_reachable
from adasap_det.pruning.graph.tracing import example_image

from ...helpers.toy import ToyDetector


@pytest.mark.parametrize('kind', [ParamsBudget, MACsBudget])
@pytest.mark.parametrize('keep_ratio', [0, 1, -0.5, 1.5])
def test_keep_ratio_outside_zero_to_one_is_an_error(kind, keep_ratio):
    with pytest.raises(ValueError, match=rf'budget\.keep_ratio.*\(0, 1\), got {keep_ratio}'):
        kind(keep_ratio=keep_ratio)


def test_each_budget_limits_its_own_cost():
    model = ToyDetector()
    groups = find_channel_groups(model, example_image((6, 6))).groups
    params = ParamsBudget(keep_ratio=0.5).plan(model, groups, example_image((6, 6))).cost
    macs = MACsBudget(keep_ratio=0.5).plan(model, groups, example_image((6, 6))).cost
    assert params.cost() == count_params(model)
    assert round(macs.cost()) == count_macs(model, input_size=(6, 6))


def test_keep_ratio_and_max_cost_are_exclusive():
    assert ParamsBudget(keep_ratio=0.25).limit(8.0) == 2.0
    assert ParamsBudget(max_cost='1.5 k').limit(8000.0) == 1500.0
    for options in ({}, {'keep_ratio': 0.5, 'max_cost': 3}):
        with pytest.raises(ValueError, match=r'either keep_ratio=.* or max_cost='):
            MACsBudget(**options)


def toy_cost(exclude=()):
    model = ToyDetector()
    analysis = find_channel_groups(model, example_image((6, 6)), exclude=exclude)
    budget = ParamsBudget(keep_ratio=0.5)
    return analysis, budget.plan(model, analysis.groups, example_image((6, 6))).cost


def test_unreachable_budget_reports_minimum_and_limiting_layers():
    """With 'inner' whole its 3x3 filters are the most of what is left."""
    analysis, cost = toy_cost(exclude=['inner'])
    fewest = {g.name: 1 for g in analysis.groups}
    with pytest.raises(ValueError) as error:
        check_reachable(
            ParamsBudget(keep_ratio=0.05), cost, analysis.groups,
            round_to=1, min_keep_ratio=0, skipped=analysis.skipped,
        )  # fmt: skip
    text = str(error.value)
    least = round(cost.cost(fewest))
    assert (
        'budget.keep_ratio=0.05 cannot be reached: with the fewest channels allowed in every'
        in text
    )
    assert f'{least} of {count_params(ToyDetector()) / 1000:.4g} k parameters remain' in text
    inner = 9 * 6 + 6  # one input channel left
    assert f'most of it in inner {inner} (inner is excluded)' in text


def test_budget_already_met_is_an_error():
    analysis, cost = toy_cost()
    with pytest.raises(ValueError, match=r"max_cost='2 M' leaves nothing to prune: .* parameters"):
        check_reachable(
            ParamsBudget(max_cost='2 M'), cost, analysis.groups, round_to=1, min_keep_ratio=0
        )


def test_a_cost_is_the_sum_of_its_layers():
    _, cost = toy_cost()
    layers = cost.by_layer()
    assert layers['inner'] == 8 * 6 * 9 + 6
    assert sum(layers.values()) == cost.cost()
