import pytest

from adasap_det import Pruner
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, count_params, describe
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.keep_ratios import kept_counts, match_keep_ratios

from ..helpers.toy import ToyDetector, randomize

SIZE = (6, 6)


def group_of(name, size=8, *, layers=None, parts=1):
    return ChannelGroup(name, size, (), (), layers or (name,), parts=parts)


GROUPS = [group_of('backbone.stem'), group_of('backbone.a', layers=('backbone.a', 'neck.a'))]


def pruner_of(model, budget=0.5, **options):
    return Pruner(
        model,
        example_image(SIZE),
        budget=ParamsBudget(keep_ratio=budget) if isinstance(budget, float) else budget,
        **{'importance': MagnitudeImportance(), 'min_keep_ratio': 0, **options},
    )


def sizes(pruner):
    return {layer: group.size for group in pruner.groups for layer in group.layers}


def test_a_pattern_covers_every_group_with_a_layer_that_it_matches():
    assert match_keep_ratios({'backbone': 0.5}, GROUPS, {}) == {
        'backbone.stem': 0.5, 'backbone.a': 0.5,
    }  # fmt: skip
    found = match_keep_ratios({'*.stem': 0.3, 'neck.*': 1.0}, GROUPS, {})
    assert found == {'backbone.stem': 0.3, 'backbone.a': 1.0}
    assert match_keep_ratios({}, GROUPS, {}) == {}


@pytest.mark.parametrize(
    ('ratios', 'message'),
    [
        ({'backbone': 0}, r"keep_ratios\['backbone'\] .*\(0, 1\], got 0"),
        ({'backbone': 1.1}, r'\(0, 1\], got 1\.1'),
        ({'head': 0.5}, r"'head' matches no layer .* backbone\.stem, backbone\.a, neck\.a"),
        ({'out': 0.5}, r"'out' matches only skipped layers: out\.conv \(out is an output\)"),
        ({'backbone.*': 0.5, 'neck': 0.5}, r"'backbone\.\*' and 'neck' both match .*backbone\.a"),
    ],
)
def test_a_pattern_that_says_nothing_clear_is_an_error(ratios, message):
    with pytest.raises(ValueError, match=message):
        match_keep_ratios(ratios, GROUPS, {'out.conv': 'out is an output'})


@pytest.mark.parametrize(
    ('size', 'parts', 'round_to', 'ratio', 'done', 'count'),
    [
        (100, 1, 1, 0.29, 1.0, 29),
        (10, 1, 1, 0.55, 1.0, 5),
        (10, 1, 1, 0.01, 1.0, 1),  # at least one step
        (64, 1, 8, 0.7, 1.0, 40),
        (20, 1, 8, 0.2, 1.0, 8),
        (20, 1, 8, 1.0, 1.0, 20),  # no multiple of 8, but whole
        (24, 3, 2, 0.7, 1.0, 12),  # multiples of 6
        (100, 1, 1, 0.5, 0.0, 100),
        (100, 1, 1, 0.5, 0.5, 75),
    ],
)
def test_the_ratio_is_rounded_down_to_a_possible_count(size, parts, round_to, ratio, done, count):
    options = dict(dense_sizes={'a': size, 'b': 8}, done=done, round_to=round_to)
    groups = [group_of('a', size, parts=parts), group_of('b')]
    assert kept_counts(groups, {'a': ratio}, **options) == {'a': count}


def test_a_ratio_refers_to_the_dense_model():
    options = dict(dense_sizes={'a': 16}, done=1.0, round_to=1)
    assert kept_counts([group_of('a', 10)], {'a': 0.5}, **options) == {'a': 8}
    assert kept_counts([group_of('a', 7)], {'a': 0.5}, **options) == {'a': 7}


def test_groups_get_their_ratio_and_the_others_share_the_budget():
    model = randomize(ToyDetector())
    dense = count_params(model)
    weight = model.inner.weight.detach().clone()
    pruner = pruner_of(model, keep_ratios={'inner': 0.5, 'le*t': 1.0})
    result = pruner.prune()
    assert (sizes(pruner)['inner'], sizes(pruner)['left']) == (3, 6)
    assert sizes(pruner)['stem'] < 8
    assert result.cost == count_params(model) <= dense / 2
    # The most important filters of the group, by the norm of their weights.
    best = weight.flatten(1).norm(dim=1).topk(3).indices.sort().values
    assert describe(model)['kept']['inner'] == best.tolist()


def test_a_ratio_may_be_below_min_keep_ratio():
    pruner = pruner_of(
        randomize(ToyDetector()), 0.8, keep_ratios={'inner': 0.2}, min_keep_ratio=0.5
    )
    pruner.prune()
    assert sizes(pruner)['inner'] == 1
    assert sizes(pruner)['stem'] >= 4


def test_ratios_fall_in_proportion_to_the_limit():
    model = randomize(ToyDetector())
    pruner = pruner_of(model, keep_ratios={'stem': 0.5, 'inner': 0.5})
    found = []
    for ratio in (0.875, 0.75, 0.5):
        pruner.step(keep_ratio=ratio)
        found.append((sizes(pruner)['stem'], sizes(pruner)['inner']))
    # After 1/4, 1/2 and all of the way: ratios 0.875, 0.75 and 0.5 of 8 and of 6 channels.
    assert found == [(7, 5), (6, 4), (4, 3)]
    pruner.prune()
    assert (sizes(pruner)['stem'], sizes(pruner)['inner']) == (4, 3)


def test_a_resumed_pruner_ends_in_the_same_ratios():
    model = randomize(ToyDetector())
    pruner = pruner_of(model, keep_ratios={'stem': 0.5})
    pruner.step(keep_ratio=0.75)
    other = randomize(ToyDetector())
    resumed = pruner_of(other, keep_ratios={'stem': 0.5})
    resumed.load_state_dict(pruner.state_dict())
    other.load_state_dict(model.state_dict())
    pruner.prune()
    resumed.prune()
    assert sizes(resumed) == sizes(pruner)
    assert sizes(resumed)['stem'] == 4


def test_ratios_of_all_groups_that_meet_the_budget_are_no_error():
    pruner = pruner_of(randomize(ToyDetector()), 0.9, keep_ratios={'*': 0.5})
    pruner.prune()
    assert sizes(pruner) == {
        'stem': 4, 'back': 4, 'depth': 4, 'inner': 3, 'left': 3, 'right': 2,
    }  # fmt: skip
    met = pruner_of(
        randomize(ToyDetector()), ParamsBudget(max_cost='1 M'), keep_ratios={'inner': 0.5}
    )
    met.prune()
    assert (sizes(met)['inner'], sizes(met)['stem']) == (3, 8)


def test_a_budget_that_the_ratios_rule_out_is_an_error():
    model = ToyDetector()
    pruner = pruner_of(model, 0.3, keep_ratios={'stem': 1.0, 'inner': 1.0})
    with pytest.raises(ValueError, match=r'keep_ratio=0\.3 cannot be reached.*lower keep_ratios'):
        pruner.check_budget()
    with pytest.raises(ValueError, match='cannot be reached'):
        pruner.prune()
    assert count_params(model) == count_params(ToyDetector())


def test_the_constructor_checks_the_patterns():
    with pytest.raises(ValueError, match=r"keep_ratios pattern 'steem' matches no layer"):
        pruner_of(ToyDetector(), keep_ratios={'steem': 0.5})
    with pytest.raises(ValueError, match=r"'out' matches only skipped layers: out \("):
        pruner_of(ToyDetector(), keep_ratios={'out': 0.5})
