import pytest

from adasap_det.checkpoint.removed_blocks import removed_blocks
from adasap_det.pruning import LatencyBudget, count_params, find_channel_groups
from adasap_det.pruning.budgets.knapsack import BlockChoice
from adasap_det.pruning.budgets.latency import latency_budget as budget_file
from adasap_det.pruning.budgets.latency.latency_budget import CHECKS, TOLERANCE
from adasap_det.pruning.budgets.latency.network_timing import pruned_copy
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.importance import MagnitudeImportance
from adasap_det.utils import dist as first_rank

from ....helpers.toy import ResidualNet, ToyDetector, randomize

SIZE = (6, 6)


def test_units_are_milliseconds():
    assert LatencyBudget(max_cost='0.5 s').limit(1e9) == 500.0
    assert str(LatencyBudget(max_cost=8)) == "max_cost='8 ms'"


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'batch_size': 0}, r'budget\.batch_size must be at least 1, got 0'),
        ({'dtype': 'int3'}, r"budget\.dtype .*'int3'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        LatencyBudget(keep_ratio=0.5, **options)


def test_pruning_meets_the_budget_and_table_is_saved(known_times, tmp_path):
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    budget = LatencyBudget(keep_ratio=0.7, table=str(tmp_path / 'table.json'))
    plan = budget.plan(model, groups, example_image(SIZE))
    cost = plan.cost
    scores = MagnitudeImportance().scores(groups, model)
    kept = plan.select(scores, limit=budget.limit(cost.cost()))
    found = cost.cost({name: len(channels) for name, channels in kept.items()})
    assert 0.6 * cost.cost() < found <= 0.7 * cost.cost()
    measured = len(known_times)
    again = LatencyBudget(keep_ratio=0.7, table=str(tmp_path / 'table.json'))
    assert again.plan(model, groups, example_image(SIZE)).cost.cost() == cost.cost()
    assert len(known_times) == measured


def test_nothing_is_measured_for_another_device(known_times, tmp_path):
    model = ToyDetector()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    path = tmp_path / 'table.json'
    budget = LatencyBudget(keep_ratio=0.7, table=str(path))
    here = budget.plan(model, groups, example_image(SIZE)).cost
    path.write_text(path.read_text().replace('"threads": "', '"threads": "9'))
    there = LatencyBudget(keep_ratio=0.7, table=str(path), any_device=True)
    measured = len(known_times)
    assert there.plan(model, groups, example_image(SIZE)).cost.cost() == here.cost()
    assert len(known_times) == measured


@pytest.fixture
def chosen(known_times, tmp_path):
    """Chooses channels of a toy detector for 70 % of its time."""

    def choose(**options):
        model = randomize(ToyDetector())
        groups = find_channel_groups(model, example_image(SIZE)).groups
        budget = LatencyBudget(keep_ratio=0.7, table=str(tmp_path / 'table.json'), **options)
        plan = budget.plan(model, groups, example_image(SIZE))
        scores = MagnitudeImportance().scores(groups, model)
        limit = budget.limit(plan.cost.cost())
        kept = plan.select(scores, limit=limit)
        return {name: len(channels) for name, channels in kept.items()}, plan.cost, limit

    return choose


def test_a_choice_that_is_slower_than_predicted_is_made_again(chosen, monkeypatch):
    """A device on which every pruned network takes a tenth more than its layers' times say."""
    naive, cost, limit = chosen(check=False)
    predicted = cost.cost
    monkeypatch.setattr(
        budget_file,
        'time_left',
        lambda model, groups, kept, forward: (
            1.1 * predicted({n: len(c) for n, c in kept.items()}) / predicted()
        ),
    )
    kept, corrected, _ = chosen()
    assert 1.1 * predicted(naive) > 1.02 * limit
    assert 0.9 * limit < 1.1 * predicted(kept) <= 1.02 * limit
    assert corrected.cost(kept) == pytest.approx(1.1 * predicted(kept), rel=0.02)
    _, reread, _ = chosen(check=False)  # what was learned is kept
    assert reread.cost(kept) == pytest.approx(corrected.cost(kept))


@pytest.mark.parametrize(
    ('off', 'times'), [(1 + TOLERANCE / 2, 1), (1.05, CHECKS)], ids=['as predicted', 'never']
)
def test_a_choice_is_timed_until_it_is_as_predicted(chosen, monkeypatch, off, times):
    asked = []

    def time_left(model, groups, kept, forward):
        asked.append(kept)
        counts = {n: len(c) for n, c in kept.items()}
        return off ** len(asked) * cost.cost(counts) / cost.cost()

    _, cost, _ = chosen(check=False)
    monkeypatch.setattr(budget_file, 'time_left', time_left)
    chosen()
    assert len(asked) == times


def test_plans_come_from_rank_0(chosen, monkeypatch):
    """Ranks that time different choices, or leave the loop at different times, wait for ever."""
    firsts, timed = [], []

    def share(objects):
        # The selection of rank 0 replaces this rank's: always keep one channel.
        found, error = objects[0]
        if isinstance(found, dict) and found:  # the analysis shares that no group failed
            firsts.append({name: channels[:1] for name, channels in found.items()})
            objects[0] = firsts[-1], error

    monkeypatch.setattr(first_rank, 'broadcast_object_list', share)
    monkeypatch.setattr(
        budget_file, 'time_left', lambda model, groups, kept, forward: timed.append(kept) or 0.62
    )
    kept, _, _ = chosen()
    assert set(kept.values()) == {1}
    assert len(firsts) > 1 and all(one is other for one, other in zip(timed, firsts, strict=True))


def test_unpruned_network_is_not_timed(known_times, monkeypatch, tmp_path):
    monkeypatch.setattr(budget_file, 'time_left', None)
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    budget = LatencyBudget(keep_ratio=0.7, table=str(tmp_path / 'table.json'))
    plan = budget.plan(model, groups, example_image(SIZE))
    scores = MagnitudeImportance().scores(groups, model)
    kept = plan.select(scores, limit=2 * plan.cost.cost())
    assert {name: len(channels) for name, channels in kept.items()} == plan.cost.full


def test_a_budget_that_proves_out_of_reach_ends_no_training(chosen, monkeypatch):
    logged = []
    monkeypatch.setattr(budget_file, 'time_left', lambda *_: 5.0)
    monkeypatch.setattr(budget_file, 'print_log', lambda text, **_: logged.append(text))
    kept, cost, _ = chosen()
    assert kept != cost.full
    assert logged[-1].startswith('As measured, a cost of')


def test_a_plan_does_not_depend_on_the_plans_made_after_it(known_times, tmp_path):
    model, other = randomize(ToyDetector()), randomize(ToyDetector())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    budget = LatencyBudget(keep_ratio=0.7, table=str(tmp_path / 'table.json'))
    first = budget.plan(model, groups, example_image(SIZE))
    before = dict(vars(budget))
    budget.plan(other, groups, example_image((12, 12)))
    assert vars(budget) == before
    assert first.model is model
    assert first.forward.example_inputs.shape == (1, 3, *SIZE)


def test_blocks_are_chosen_with_the_channels_and_timed_without(known_times, tmp_path):
    model = randomize(ResidualNet())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    budget = LatencyBudget(keep_ratio=0.7, table=str(tmp_path / 'table.json'))
    names = [f'body.{i}' for i in range(3)]
    plan = budget.plan(model, groups, example_image(SIZE), names)
    scores = MagnitudeImportance().scores(groups, model)
    blocks = [BlockChoice(n, 1e-6 if n == 'body.1' else 1e6, (f'{n}.conv1',)) for n in names]
    kept = plan.select(scores, limit=0.7 * plan.cost.cost(), blocks=blocks)
    assert [len(kept[name]) for name in names] == [1, 0, 1]
    counts = {name: len(each) for name, each in kept.items()}
    network = pruned_copy(model, groups, kept)
    left = count_params(network) / count_params(model)
    assert plan.cost.cost(counts) / plan.cost.cost() <= 0.7
    assert removed_blocks(network) == ['body.1'] and left < 0.75
