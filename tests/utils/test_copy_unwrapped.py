from types import MethodType

import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn

from adasap_det.hooks.size_report import measured_latency
from adasap_det.pruning import MagnitudeImportance, count_macs, find_channel_groups
from adasap_det.pruning.budgets.cost import weight_uses
from adasap_det.pruning.budgets.latency.layers import layer_calls
from adasap_det.pruning.budgets.latency.network_timing import Forward, pruned_copy, time_left
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.sensitivity import sensitivity
from adasap_det.utils.copy_unwrapped import copy_unwrapped

from ..helpers.toy import ToyDetector, randomize

SIZE = (6, 6)
WRAPPED = ['stem', 'stem_bn', 'inner', 'inner_bn', 'joint_bn', 'out']


def toy(*, wrapped=()):
    model = randomize(ToyDetector()).train()
    turn_on_activation_checkpointing(model, list(wrapped))
    return model


def plain(analysis):
    return [
        (g.name, g.layers, g.norms, [(s.name, s.dim, s.positions.tolist()) for s in g.slices])
        for g in analysis.groups
    ], analysis.skipped


def wrapped_by_checkpointing(model):
    turn_on_activation_checkpointing(model, ['0'])


def wrapped_by_compile(model):
    model[0].forward = torch.compile(model[0].forward, backend='eager')


def test_copy_of_a_compiled_module_runs_its_own_layers():
    """It creates its own forward around the compiled module, also in a copy."""
    model = nn.Sequential(torch.compile(nn.Linear(3, 2, bias=False), backend='eager'))
    copied = copy_unwrapped(model)
    with torch.no_grad():
        copied[0].weight.copy_(torch.eye(2, 3))
    assert copied(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[1.0, 2.0]]


def test_other_wrapped_methods_run_the_layers_of_the_copy():
    """MMEngine compiles the method that ``compile=dict(target=...)`` names."""

    class Detector(nn.Linear):
        def forward(self, x):
            return self.extract_feat(x)

        def extract_feat(self, x):
            return nn.functional.linear(x, self.weight)

    model = Detector(1, 1)
    model.extract_feat = torch.compile(model.extract_feat, backend='eager')
    copied = copy_unwrapped(model)
    with torch.no_grad():
        copied.weight.fill_(3.0)
    assert copied(torch.ones(1, 1)).item() == 3.0


@pytest.mark.parametrize('wrap', [wrapped_by_checkpointing, wrapped_by_compile])
def test_copy_runs_its_own_layers_and_the_model_stays_wrapped(wrap):
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU())
    wrap(model)
    wrapper = model[0].forward
    copied = copy_unwrapped(model)
    with torch.no_grad():
        copied[0].weight.copy_(torch.eye(2, 3))
    assert copied(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[1.0, 2.0]]
    assert model[0].forward is wrapper


def test_bound_method_override_is_bound_to_the_copy():
    def doubled(self, x):
        return 2 * nn.functional.linear(x, self.weight)

    model = nn.Linear(1, 1, bias=False)
    model.forward = MethodType(doubled, model)
    copied = copy_unwrapped(model)
    with torch.no_grad():
        copied.weight.fill_(3.0)
    assert copied(torch.ones(1, 1)).item() == 6.0


def networks_seen(model, monkeypatch):
    """Mean outputs of all networks that are timed or measured, in order."""
    groups = find_channel_groups(model, example_image(SIZE)).groups
    kept = {g.name: torch.arange(1, g.size) for g in groups}
    forward = Forward(example_image(SIZE), 1, torch.float32, torch.device('cpu'))
    seen = []

    def run(network):
        seen.append(network.eval()(torch.ones(1, 3, *SIZE)).mean().item())
        return 1.0

    monkeypatch.setattr(Forward, 'time', lambda self, networks, **_: [run(n) for n in networks])
    time_left(model, groups, kept, forward)
    run(pruned_copy(model, groups, kept))
    measured_latency(model, SIZE)
    list(sensitivity(model, groups, MagnitudeImportance(), run, ratios=(0.5,)))
    return seen


USES = {
    'groups': lambda model, _: plain(find_channel_groups(model, example_image(SIZE))),
    'MACs': lambda model, _: count_macs(model, input_size=SIZE),
    'uses': lambda model, _: weight_uses(model, example_image(SIZE)),
    'calls': lambda model, _: layer_calls(
        model, example_image(SIZE), batch_size=2, dtype=torch.float32
    ),
    'networks': networks_seen,
}


@pytest.mark.parametrize('use', USES)
def test_activation_checkpointing_changes_no_result(use, monkeypatch):
    """Tracing, counting, timing and pruning use a copy; the model's statistics do not change."""
    model = toy(wrapped=WRAPPED)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert USES[use](model, monkeypatch) == USES[use](toy(), monkeypatch)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
