import pytest

from adasap_det.pruning import LatencyBudget, find_channel_groups
from adasap_det.pruning.importance import MagnitudeImportance

from ...toy import ToyDetector, randomize

SIZE = (6, 6)


def test_units_are_milliseconds():
    assert LatencyBudget(at_most='0.5 s').limit(1e9) == 500.0
    assert str(LatencyBudget(at_most=8)) == "at_most='8 ms'"


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'batch_size': 0}, r'budget\.batch_size must be at least 1, got 0'),
        ({'dtype': 'int3'}, r"budget\.dtype .*'int3'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        LatencyBudget(keep=0.5, **options)


def test_the_cut_meets_the_budget_and_the_table_is_kept(known_times, tmp_path):
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, input_size=SIZE).groups
    budget = LatencyBudget(keep=0.7, table=str(tmp_path / 'table.json'))
    cost = budget.cost_model(model, groups, input_size=SIZE)
    kept = budget.select(
        groups, MagnitudeImportance().scores(groups, model), cost, limit=budget.limit(cost.cost())
    )
    found = cost.cost({name: len(channels) for name, channels in kept.items()})
    assert 0.6 * cost.cost() < found <= 0.7 * cost.cost()
    measured = len(known_times)
    again = LatencyBudget(keep=0.7, table=str(tmp_path / 'table.json'))
    assert again.cost_model(model, groups, input_size=SIZE).cost() == cost.cost()
    assert len(known_times) == measured


def test_nothing_is_measured_for_another_device(known_times, tmp_path):
    model = ToyDetector()
    groups = find_channel_groups(model, input_size=SIZE).groups
    path = tmp_path / 'table.json'
    here = LatencyBudget(keep=0.7, table=str(path)).cost_model(model, groups, input_size=SIZE)
    path.write_text(path.read_text().replace('"threads": "', '"threads": "9'))
    there = LatencyBudget(keep=0.7, table=str(path), any_device=True)
    measured = len(known_times)
    assert there.cost_model(model, groups, input_size=SIZE).cost() == here.cost()
    assert len(known_times) == measured
