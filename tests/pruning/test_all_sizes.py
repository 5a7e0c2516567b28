"""Every size of one file is the network that the pruner makes by the same order."""

import pytest
import torch
from torch import nn

from adasap_det import Pruner, load_pruned, recalibrate
from adasap_det.checkpoint.structure import describe
from adasap_det.pruning import (
    LatencyBudget,
    MACsBudget,
    MagnitudeImportance,
    ParamsBudget,
    count_macs,
    count_params,
    prune_channels,
    save_elastic,
)
from adasap_det.pruning.all_sizes import stored_ratios
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.order import ORDER_KEY

from ..helpers.attention import AttentionNet
from ..helpers.known_times import install
from ..helpers.toy import FlattenNet, GroupedNet, ResidualNet, ToyDetector, randomize, toy_batch

SIZE = (6, 6)
MODELS = (ToyDetector, ResidualNet, GroupedNet, FlattenNet)


def pruner_of(model, budget=None, **options):
    return Pruner(
        model,
        example_image(SIZE),
        importance=MagnitudeImportance(),
        budget=budget or ParamsBudget(keep_ratio=0.5),
        min_keep_ratio=0,
        **options,
    )


def re_estimate(model):
    recalibrate(model, [toy_batch(seed)['inputs'] for seed in (1, 2)])


def assert_same(model, other):
    assert_same_tensors(model, other)
    assert describe(model) == describe(other)


def assert_same_tensors(model, other):
    state, expected = model.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


@pytest.mark.parametrize('kind', MODELS)
def test_a_size_equals_the_pruned_model(kind, tmp_path):
    """With its structure, for every group, tensor and buffer."""
    pruner = pruner_of(randomize(kind()))
    order = pruner.removal_order()
    save_elastic(tmp_path / 'sizes.pth', pruner, order)
    for ratio in (0.9, 0.6, 0.35):
        pruned = pruner.copy()
        pruned.prune_to(ratio * count_params(pruner.model), order=order)
        loaded = load_pruned(kind(), tmp_path / 'sizes.pth', keep_ratio=ratio)
        assert_same(loaded, pruned.model)
        assert count_params(loaded) <= ratio * count_params(pruner.model)


def test_whole_heads_of_an_attention_go(tmp_path):
    model = randomize(AttentionNet())
    pruner = Pruner(
        model,
        torch.rand(1, 3, 8, 8),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.6),
    )
    order = pruner.removal_order()
    save_elastic(tmp_path / 'sizes.pth', pruner, order)
    pruned = pruner.copy()
    pruned.prune_to(0.6 * count_params(model), order=order)
    loaded = load_pruned(AttentionNet(), tmp_path / 'sizes.pth', keep_ratio=0.6)
    assert_same(loaded, pruned.model)


def test_sizes_of_a_network_that_was_pruned_before(tmp_path):
    """Channels are numbered as in the dense network, which the file is loaded into."""
    model = randomize(ToyDetector())
    pruner_of(model, ParamsBudget(keep_ratio=0.7)).prune()
    pruner = pruner_of(model)
    order = pruner.removal_order()
    save_elastic(tmp_path / 'sizes.pth', pruner, order)
    pruned = pruner.copy()
    pruned.prune_to(0.5 * count_params(model), order=order)
    assert_same(load_pruned(ToyDetector(), tmp_path / 'sizes.pth', keep_ratio=0.5), pruned.model)
    assert_same(load_pruned(ToyDetector(), tmp_path / 'sizes.pth'), model)


def test_tensors_under_several_names_are_all_pruned(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 6, 3, padding=1)
            self.again = self.first
            self.norm = nn.BatchNorm2d(6)
            self.same_norm = self.norm
            self.out = nn.Conv2d(6, 2, 1)

        def forward(self, x):
            return self.out(self.same_norm(self.again(x)).relu())

    pruner = pruner_of(randomize(Twice()))
    order = pruner.removal_order()
    save_elastic(tmp_path / 'sizes.pth', pruner, order, recalibrate=re_estimate)
    pruned = pruner.copy()
    pruned.prune_to(0.5 * count_params(pruner.model), order=order)
    re_estimate(pruned.model)
    assert_same(load_pruned(Twice(), tmp_path / 'sizes.pth', keep_ratio=0.5), pruned.model)


def test_stored_sizes_have_their_own_statistics_and_the_model_stays_as_it_is(tmp_path):
    model = randomize(ToyDetector())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruner = pruner_of(model)
    order = pruner.removal_order()
    path = tmp_path / 'sizes.pth'
    save_elastic(path, pruner, order, recalibrate=re_estimate, keep_ratios=(1.0, 0.7, 0.4))
    for ratio in (0.7, 0.4):
        pruned = pruner.copy()
        pruned.prune_to(ratio * count_params(model), order=order)
        re_estimate(pruned.model)
        assert_same(load_pruned(ToyDetector(), path, keep_ratio=ratio), pruned.model)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    re_estimate(model)
    for whole in ({}, {'keep_ratio': 1.0}):
        assert_same_tensors(load_pruned(ToyDetector(), path, **whole), model)


def test_without_the_whole_size_its_statistics_stay(tmp_path):
    model = randomize(ToyDetector())
    pruner = pruner_of(model)
    path = tmp_path / 'sizes.pth'
    options = {'recalibrate': re_estimate, 'keep_ratios': (0.5,)}
    save_elastic(path, pruner, pruner.removal_order(), **options)
    assert_same_tensors(load_pruned(ToyDetector(), path), model)


def test_stored_ratios_are_of_the_pruners_budget(tmp_path):
    pruner = pruner_of(randomize(ToyDetector()), MACsBudget(keep_ratio=0.5))
    order = pruner.removal_order()
    path = tmp_path / 'sizes.pth'
    save_elastic(path, pruner, order, recalibrate=re_estimate, keep_ratios=(0.5,))
    pruned = pruner.copy()
    macs = count_macs(pruner.model, input_size=SIZE)
    pruned.prune_to(0.5 * macs, order=order)
    re_estimate(pruned.model)
    loaded = load_pruned(ToyDetector(), path, macs_ratio=0.5)
    assert_same(loaded, pruned.model)
    assert count_macs(loaded, input_size=SIZE) <= 0.5 * macs


def test_a_ratio_of_the_latency(tmp_path, monkeypatch):
    install(monkeypatch.setattr)
    budget = LatencyBudget(keep_ratio=0.5, table=str(tmp_path / 'table.json'))
    pruner = pruner_of(randomize(ToyDetector()), budget)
    order = pruner.removal_order()
    save_elastic(tmp_path / 'sizes.pth', pruner, order)
    cost = pruner.costs()['budget']
    pruned = pruner.copy()
    pruned.prune_to(0.9 * cost.cost(), order=order)
    assert not pruned.is_dense
    loaded = load_pruned(ToyDetector(), tmp_path / 'sizes.pth', latency_ratio=0.9)
    assert_same(loaded, pruned.model)


def test_the_file_is_a_checkpoint_of_the_whole_network(tmp_path):
    model = randomize(ToyDetector())
    pruner = pruner_of(model)
    order = pruner.removal_order()
    trained = {**order.state_dict(), 'keep_ratio_range': [0.2, 1.0], 'unit': 'parameters'}
    meta = {ORDER_KEY: trained, 'dataset_meta': {'classes': 'ab'}, 'epoch': 3}
    save_elastic(tmp_path / 'sizes.pth', pruner, order, meta=meta)
    content = torch.load(tmp_path / 'sizes.pth', weights_only=True)
    ToyDetector().load_state_dict(content['state_dict'])
    assert content['meta'][ORDER_KEY] == trained
    assert content['meta']['dataset_meta'] == {'classes': 'ab'}
    assert 'epoch' not in content['meta']
    assert not list(tmp_path.glob('*.tmp'))


def test_another_order_has_no_trained_range(tmp_path):
    pruner = pruner_of(randomize(ToyDetector()))
    order = pruner.removal_order()
    ranks = {name: rank[::-1] for name, rank in order.state_dict()['ranks'].items()}
    trained = {'ranks': ranks, 'steps': order.steps, 'keep_ratio_range': [0.2, 1], 'unit': 'MACs'}
    save_elastic(tmp_path / 'sizes.pth', pruner, order, meta={ORDER_KEY: trained})
    content = torch.load(tmp_path / 'sizes.pth', weights_only=True)
    assert content['meta'][ORDER_KEY] == order.state_dict()


@pytest.mark.parametrize('ratio', [0.0, 1.2])
def test_ratios_out_of_range(tmp_path, ratio):
    pruner = pruner_of(randomize(ToyDetector()))
    with pytest.raises(ValueError, match=rf'keep_ratios must lie in \(0, 1\], got {ratio}'):
        save_elastic(
            tmp_path / 'sizes.pth',
            pruner,
            pruner.removal_order(),
            recalibrate=re_estimate,
            keep_ratios=[ratio],
        )
    assert not (tmp_path / 'sizes.pth').exists()


@pytest.mark.parametrize('kind', MODELS)
def test_costs_after_each_step(kind, tmp_path):
    pruner = pruner_of(randomize(kind()), MACsBudget(keep_ratio=0.5))
    order = pruner.removal_order()
    save_elastic(tmp_path / 'sizes.pth', pruner, order)
    costs = torch.load(tmp_path / 'sizes.pth', weights_only=True)['adasap_det_sizes']['costs']
    assert costs.keys() == {'parameters', 'MACs'}
    for step in range(order.steps + 1):
        model = pruner.copy().model
        prune_channels(model, pruner.groups, order.kept(step))
        assert costs['parameters'][step] == count_params(model)
        assert costs['MACs'][step] == count_macs(model, input_size=SIZE)


def test_default_sizes_are_those_that_can_be_reached(tmp_path):
    """With half of each group's channels, some 30 % of the parameters remain."""
    model = randomize(ToyDetector())
    pruner = Pruner(
        model,
        example_image(SIZE),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
        min_keep_ratio=0.5,
    )
    order = pruner.removal_order()
    cost = pruner.costs()['budget']
    assert order.steps_within(0.5 * cost.cost(), cost) <= order.steps
    assert stored_ratios(order, cost) == [1.0, 0.8, 0.6, 0.5, 0.4]
    save_elastic(tmp_path / 'sizes.pth', pruner, order, recalibrate=re_estimate)
    content = torch.load(tmp_path / 'sizes.pth', weights_only=True)
    assert len(content['adasap_det_sizes']['statistics']) == 5
