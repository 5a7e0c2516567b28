import copy
import io

import pytest
import torch
from torch import nn

from adasap_det import Pruner
from adasap_det.checkpoint.structure import describe, kept_channels
from adasap_det.pruning import (
    LatencyBudget,
    MACsBudget,
    MagnitudeImportance,
    ParamsBudget,
    RandomImportance,
    TaylorImportance,
    count_macs,
    count_params,
    find_channel_groups,
)
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.attention import HEADS, WIDTH, AttentionNet
from ..helpers.toy import ResidualNet, ToyDetector, randomize, toy_batch

SIZE = (6, 6)


def pruner_of(model, budget=None, **options):
    return Pruner(
        model,
        example_image(SIZE),
        budget=budget or ParamsBudget(keep_ratio=0.5),
        **{'importance': MagnitudeImportance(), 'min_keep_ratio': 0, **options},
    )


def toy_loss(model, seed):
    return sum(model(**toy_batch(seed), mode='loss').values())


def test_prune_meets_the_budget_and_returns_the_costs():
    model = randomize(ToyDetector())
    dense = count_params(model)
    result = pruner_of(model).prune()
    assert (result.dense, result.limit) == (dense, dense / 2)
    assert result.cost == count_params(model) <= dense / 2
    assert result.cost > 0.4 * dense


def test_kept_channels_are_numbered_as_in_the_dense_model_after_two_prunings():
    model = randomize(ToyDetector())
    weight = model.inner.weight.detach().clone()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    (stem,) = (group.name for group in groups if 'stem' in group.layers)
    pruner_of(model, ParamsBudget(keep_ratio=0.7)).prune()
    first = describe(model)
    pruner_of(model, MACsBudget(keep_ratio=0.7)).prune()
    second = describe(model)
    kept = second['kept']
    assert second['dense_channels'] == first['dense_channels']
    rows, columns = kept['inner'], kept[stem]
    assert torch.equal(model.inner.weight, weight[rows][:, columns])


def test_a_copy_is_pruned_alone():
    """Whatever the copies did: their model, their importance and their groups are their own."""
    model = randomize(ToyDetector())
    pruner = pruner_of(model, importance=TaylorImportance(), optimizers=[])
    pruner.observe_losses(toy_loss(model, seed) for seed in (1, 2))
    dense = count_params(model)
    first, second = pruner.copy(), pruner.copy()
    first.step(keep_ratio=0.8)
    first.prune_to(0.5 * dense, order=first.removal_order())
    assert count_params(model) == dense
    assert second.prune() == pruner.prune()
    assert describe(second.model) == describe(model) != describe(first.model)


def test_gradients_of_frozen_layers_are_observed_too():
    model = randomize(ToyDetector())
    model.stem_bn.requires_grad_(False)
    importance = TaylorImportance()
    pruner = pruner_of(model, importance=importance)
    assert pruner.observe_losses(toy_loss(model, seed) for seed in (1, 2)) == 2
    scores = importance.scores(pruner.groups, model)
    assert all(score.unique().numel() > 1 for score in scores)
    assert not model.stem_bn.weight.requires_grad
    assert model.inner.weight.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_an_unreachable_budget_leaves_the_model_unchanged():
    model = ToyDetector()
    before = count_params(model)
    with pytest.raises(ValueError, match='cannot be reached'):
        pruner_of(model, ParamsBudget(keep_ratio=0.001)).prune()
    assert count_params(model) == before


def test_intermediate_steps_refer_to_the_dense_model():
    model = randomize(ToyDetector())
    dense = count_params(model)
    pruner = pruner_of(model)
    for ratio in (0.8, 0.6):
        pruner.step(keep_ratio=ratio)
        assert 0.5 * dense < count_params(model) <= ratio * dense
        assert sum(g.size for g in pruner.groups) < sum(describe(model)['dense_channels'].values())
    pruner.step(max_cost=dense * 0.55)
    assert count_params(model) <= 0.55 * dense
    pruner.prune()
    assert count_params(model) <= 0.5 * dense


@pytest.mark.parametrize('target', [{}, {'keep_ratio': 0.5, 'max_cost': 3}, {'keep_ratio': 1.5}])
def test_a_step_needs_exactly_one_target_in_range(target):
    model = ToyDetector()
    before = count_params(model)
    with pytest.raises(ValueError, match='keep_ratio'):
        pruner_of(model).step(**target)
    assert count_params(model) == before


def test_a_gradient_importance_must_have_observed_since_the_last_step():
    model = randomize(ToyDetector())
    pruner = pruner_of(model, importance=TaylorImportance())
    with pytest.raises(ValueError, match=r'TaylorImportance needs gradients.*observe\(\)'):
        pruner.prune()
    toy_loss(model, 1).backward()
    pruner.observe()
    pruner.step(keep_ratio=0.8)
    with pytest.raises(ValueError, match='since the last prune step'):
        pruner.prune()


def test_optimizers_and_copies_stay_valid():
    model = randomize(ToyDetector())
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    pruner = pruner_of(model, optimizers=[optimizer], copies=[average])
    toy_loss(model, 1).backward()
    optimizer.step()
    parameters = list(model.parameters())
    pruner.prune()
    assert all(now is before for now, before in zip(model.parameters(), parameters, strict=True))
    for parameter, copied in zip(model.parameters(), average.parameters(), strict=True):
        assert copied.shape == parameter.shape
        if parameter in optimizer.state:
            assert optimizer.state[parameter]['exp_avg'].shape == parameter.shape
    model.zero_grad()
    before = model.inner.weight.detach().clone()
    toy_loss(model, 2).backward()
    optimizer.step()
    assert not torch.equal(model.inner.weight, before)


def test_a_plain_module_is_pruned_without_mmengine_models():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    pruner = pruner_of(model, MACsBudget(keep_ratio=0.4), exclude=['3'])
    dense = pruner.dense_costs['macs']
    pruner.prune()
    assert model[3].out_channels == 8  # excluded
    assert model[0].out_channels < 8
    assert count_macs(model, input_size=SIZE) <= 0.4 * dense
    assert model(torch.rand(2, 3, *SIZE)).shape == (2, 4)


def test_inputs_need_not_be_images():
    model = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3))
    pruner = Pruner(
        model, torch.rand(4, 5), importance=MagnitudeImportance(),
        budget=MACsBudget(keep_ratio=0.5), round_to=2,
    )  # fmt: skip
    pruner.prune()
    assert pruner.dense_costs['macs'] == 5 * 12 + 12 * 3
    assert model[0].out_features == 6
    assert model(torch.rand(2, 5)).shape == (2, 3)


def test_a_resumed_pruner_ends_in_the_same_channels():
    model = randomize(ToyDetector())
    dense = copy.deepcopy(model)
    pruner = pruner_of(model, importance=TaylorImportance())
    pruner.observe_losses(toy_loss(model, seed) for seed in (1, 2))
    pruner.step(keep_ratio=0.7)
    pruner.observe_losses([toy_loss(model, 3)])
    buffer = io.BytesIO()
    torch.save({'pruner': pruner.state_dict(), 'model': model.state_dict()}, buffer)
    pruner.prune()

    average = copy.deepcopy(dense)
    resumed = pruner_of(dense, importance=TaylorImportance(), copies=[average])
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    resumed.load_state_dict(state['pruner'])
    dense.load_state_dict(state['model'])
    average.load_state_dict(state['model'])
    assert resumed.observed
    assert not resumed.is_dense
    resumed.prune()
    assert kept_channels(dense) == kept_channels(model) == kept_channels(average)
    expected = model.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in dense.state_dict().items())
    assert resumed.dense_costs == pruner.dense_costs
    assert resumed.report() == pruner.report()


def test_the_report_has_every_layer_and_why_it_was_skipped():
    model = randomize(ToyDetector())
    pruner = pruner_of(model, exclude=['inner'])
    before = {n: m.out_channels for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    pruner.prune()
    lines = {line.split()[0]: line for line in pruner.report().splitlines() if line.strip()}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.out_channels < before[name]:
            assert f'{before[name]} -> {module.out_channels}' in lines[name]
            assert f'{module.out_channels / before[name]:.0%}' in lines[name]
    assert 'skipped: inner is excluded' in lines['inner']
    assert 'skipped: ' in lines['out']
    dense, now = pruner.dense_costs['params'], count_params(model)
    assert f'{round(dense):,} -> {now:,}' in lines['parameters']
    assert f'{round(pruner.dense_costs["macs"]):,} -> ' in lines['MACs']


def test_heads_are_pruned_with_optimizer_copies_and_report():
    torch.manual_seed(0)
    model = AttentionNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    x = torch.rand(2, 3, *SIZE)
    model(x).square().sum().backward()
    optimizer.step()
    average = copy.deepcopy(model)
    pruner = Pruner(
        model,
        x,
        importance=RandomImportance(),
        budget=ParamsBudget(keep_ratio=0.4),
        optimizers=[optimizer],
        copies=[average],
    )
    pruner.prune()
    left = model.attention.num_heads
    assert left < HEADS
    assert f'{HEADS * WIDTH} -> {left * WIDTH}' in pruner.report()
    assert torch.equal(average(x), model(x))
    optimizer.zero_grad()
    loss = model(x).square().sum()
    loss.backward()
    optimizer.step()
    assert model(x).square().sum() < loss

    file = io.BytesIO()
    torch.save({'pruner': pruner.state_dict(), 'model': model.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed_model = AttentionNet()
    resumed = Pruner(
        resumed_model,
        x,
        importance=RandomImportance(),
        budget=ParamsBudget(keep_ratio=0.4),
    )
    resumed.load_state_dict(state['pruner'])
    resumed_model.load_state_dict(state['model'])
    assert torch.equal(resumed_model(x), model(x))
    assert {g.name: g.size for g in resumed.groups} == {g.name: g.size for g in pruner.groups}
    assert resumed.report() == pruner.report()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'round_to': 0}, 'round_to must be at least 1, got 0'),
        ({'min_keep_ratio': 1.0}, r'min_keep_ratio must lie in \[0, 1\), got 1.0'),
        ({'exclude': ['steem']}, "exclude pattern 'steem' matches no layer"),
    ],
)
def test_bad_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        pruner_of(ToyDetector(), **options)


def test_another_target_leaves_the_budget_as_it_is(tmp_path):
    budget = LatencyBudget(keep_ratio=0.5, table=str(tmp_path / 'table.json'), batch_size=4)
    other = budget.with_target(max_cost='3 ms')
    assert (other.keep_ratio, other.max_cost, other.batch_size) == (None, 3.0, 4)
    assert (budget.keep_ratio, budget.max_cost) == (0.5, None)


# ------------------------------------------------------------------ whole blocks


def residual_net(*ends):
    """A network with random weights; those of each block's last norm are small as given."""
    model = randomize(ResidualNet())
    with torch.no_grad():
        for block, end in zip(model.body, ends, strict=True):
            for parameter in block.bn2.parameters():
                parameter.mul_(end)
    return model


def observed(model, budget, **options):
    pruner = pruner_of(model, budget, importance=TaylorImportance(), prune_blocks=True, **options)
    pruner.observe_losses(toy_loss(model, seed) for seed in (1, 2))
    return pruner


@pytest.mark.parametrize('kind', [ParamsBudget, MACsBudget])
def test_a_block_of_little_importance_goes_as_a_whole(kind):
    model = residual_net(1.0, 1e-6, 1.0)
    pruner = observed(model, kind(keep_ratio=0.7))
    untouched = copy.deepcopy(model)
    assert [block.name for block in pruner.blocks] == ['body.0', 'body.1', 'body.2']
    result = pruner.prune()
    assert describe(model)['removed_blocks'] == ['body.1']
    assert [block.name for block in pruner.blocks] == ['body.0', 'body.2']
    assert [group.name for group in pruner.groups] == ['stem', 'body.0.conv1', 'body.2.conv1']
    count = count_params(model) if kind is ParamsBudget else count_macs(model, input_size=SIZE)
    assert count == result.cost <= result.limit
    assert [g.size for g in pruner.groups] == [8, 6, 6]  # a third was to go anyway
    untouched.body[1] = nn.Identity()
    inputs = torch.rand(2, 3, *SIZE)
    assert torch.equal(model.eval()(inputs), untouched.eval()(inputs))


def test_blocks_stay_unless_asked_for():
    model = residual_net(1.0, 0.0, 1.0)
    pruner = pruner_of(model, importance=TaylorImportance())
    pruner.observe_losses([toy_loss(model, 1)])
    pruner.prune()
    assert describe(model)['removed_blocks'] == []


def test_channels_and_blocks_are_pruned_in_steps_to_the_budget():
    model = residual_net(1.0, 1e-6, 1e-5)
    dense = count_params(model)
    pruner = observed(model, ParamsBudget(keep_ratio=0.3))
    pruner.step(keep_ratio=0.7)
    assert not pruner.is_dense
    pruner.observe_losses([toy_loss(model, 3)])
    pruner.prune()
    assert describe(model)['removed_blocks'] == ['body.1', 'body.2']
    assert count_params(model) <= 0.3 * dense
    toy_loss(model, 4).backward()
    analysis = find_channel_groups(model, example_image(SIZE))
    assert all(a.same_as(b) for a, b in zip(pruner.groups, analysis.groups, strict=True))


def test_optimizers_and_copies_lose_the_blocks():
    model = residual_net(1.0, 1e-6, 1.0)
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(
        [{'params': [p]} for p in model.body[1].parameters()]
        + [{'params': [p for n, p in model.named_parameters() if 'body.1' not in n]}]
    )
    toy_loss(model, 1).backward()
    optimizer.step()
    pruner = observed(model, ParamsBudget(keep_ratio=0.7), optimizers=[optimizer], copies=[average])
    pruner.prune()
    assert not list(model.body[1].parameters()) and not list(average.body[1].parameters())
    left = set(model.parameters())
    assert {p for group in optimizer.param_groups for p in group['params']} == left
    assert set(optimizer.state) == left
    assert len(optimizer.param_groups) == 7  # schedulers count them
    before = model.stem.weight.detach().clone()
    toy_loss(model, 2).backward()
    optimizer.step()
    assert not torch.equal(model.stem.weight, before)


def test_approximate_groups_are_named_until_their_block_goes():
    model = residual_net(1.0, 1e-6, 1.0)
    model.body[1].bn1 = torch.nn.GroupNorm(2, model.body[1].bn1.num_features)
    pruner = observed(model, ParamsBudget(keep_ratio=0.7))
    assert pruner.approximate == {'body.1.conv1': 'native_group_norm combines its channels'}
    pruner.prune()
    assert [block.name for block in pruner.blocks] == ['body.0', 'body.2']
    assert pruner.approximate == {}


def test_a_run_without_blocks_resumes():
    def begin():
        model = residual_net(1.0, 1e-6, 1e-5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        return (
            model,
            optimizer,
            observed(model, ParamsBudget(keep_ratio=0.3), optimizers=[optimizer]),
        )

    def train(model, optimizer):
        optimizer.zero_grad()
        toy_loss(model, 5).backward()
        optimizer.step()

    model, optimizer, pruner = begin()
    pruner.step(keep_ratio=0.7)
    train(model, optimizer)
    saved = copy.deepcopy((pruner.state_dict(), model.state_dict(), optimizer.state_dict()))
    again, its_optimizer, resumed = begin()
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    its_optimizer.load_state_dict(saved[2])
    assert not resumed.is_dense and not pruner.is_dense
    for each, own, at in ((model, optimizer, pruner), (again, its_optimizer, resumed)):
        at.observe_losses([toy_loss(each, 6)])
        at.prune()
        train(each, own)
    assert describe(again) == describe(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_report_names_removed_blocks():
    model = residual_net(1.0, 1e-6, 1.0)
    pruner = observed(model, ParamsBudget(keep_ratio=0.7))
    pruner.prune()
    rows = {line.split()[0]: line for line in pruner.report().splitlines()}
    assert 'removed with its 2 layers' in rows['body.1']
    assert 'body.1.conv1' not in rows
    assert '6 -> 6' in rows['body.2.conv1']


@pytest.mark.parametrize(
    'options', [{'exclude': ['body.1.conv2']}, {'keep_ratios': {'body.1.*': 1.0}}]
)
def test_blocks_with_layers_of_their_own_options_stay(options):
    pruner = pruner_of(residual_net(1.0, 1.0, 1.0), prune_blocks=True, **options)
    assert [block.name for block in pruner.blocks] == ['body.0', 'body.2']


def test_a_budget_that_channels_alone_cannot_reach_is_met():
    options = dict(min_keep_ratio=0.5)
    with pytest.raises(ValueError, match='cannot be reached'):
        pruner_of(residual_net(1, 1, 1), ParamsBudget(keep_ratio=0.2), **options).check_budget()
    model = residual_net(1, 1, 1)
    observed(model, ParamsBudget(keep_ratio=0.2), **options).prune()
    assert len(describe(model)['removed_blocks']) >= 2


@pytest.mark.parametrize('importance', [MagnitudeImportance(), RandomImportance()])
def test_importances_of_weights_alone_score_a_block_as_its_channels(importance):
    pruner = pruner_of(residual_net(1, 1, 1), importance=importance, prune_blocks=True)
    scores = importance.scores(pruner.groups, pruner.model)
    of_blocks = importance.block_scores(pruner.blocks, pruner.groups, scores)
    assert of_blocks == pytest.approx([float(s.sum()) for s in scores[1:]])
    pruner.prune()
    assert count_params(pruner.model) <= pruner.dense_costs['params'] / 2
