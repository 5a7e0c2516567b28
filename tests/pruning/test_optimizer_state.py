import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

from adasap_det import Pruner
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, find_channel_groups
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.optimizer_state import check_optimizer

from ..helpers.toy import ToyDetector, toy_batch

SIZE = (6, 6)
REFUSED = r"keeps '\w+' of a parameter like (inner|right)\.weight in shape .* cannot be pruned"


def checked(optimizer, model, exclude=()):
    groups = find_channel_groups(model, example_image(SIZE), exclude=exclude).groups
    check_optimizer(optimizer, model, groups)


@pytest.mark.parametrize(
    ('kind', 'options'),
    [
        ('SGD', dict(lr=0.1, momentum=0.9, nesterov=True)),
        ('Adam', dict(amsgrad=True)),
        ('AdamW', dict(betas=(0.5, 0.9), foreach=True)),
        ('RMSprop', dict(momentum=0.5, centered=True)),
        ('Adagrad', dict(initial_accumulator_value=0.1)),
        ('Adadelta', {}),
        ('Adamax', {}),
        ('ASGD', {}),
        ('NAdam', {}),
        ('RAdam', {}),
        ('Rprop', {}),
    ],
)
def test_state_shaped_like_the_parameters_is_accepted(kind, options):
    model = ToyDetector()
    checked(getattr(torch.optim, kind)(model.parameters(), **options), model)


@pytest.mark.parametrize('kind', ['Adafactor', 'LBFGS'])
def test_state_of_another_shape_is_refused_before_the_first_step(kind):
    if not hasattr(torch.optim, kind):
        pytest.skip(f'this PyTorch has no {kind}')
    model = ToyDetector()
    with pytest.raises(ValueError, match=f'{kind} {REFUSED}'):
        checked(getattr(torch.optim, kind)(model.parameters()), model)


def test_mmengine_optimizers_are_checked():
    model = ToyDetector()
    for kind in ('SGD', 'AdamW'):
        options = dict(type=kind, lr=0.1, weight_decay=0.1)
        config = dict(optimizer=options, paramwise_cfg=dict(norm_decay_mult=0.0))
        checked(build_optim_wrapper(model, config).optimizer, model)
    config = dict(optimizer=dict(type='RowNorms', lr=0.1))
    with pytest.raises(ValueError, match=f'RowNorms {REFUSED}'):
        checked(build_optim_wrapper(model, config).optimizer, model)


@OPTIMIZERS.register_module()
class RowNorms(torch.optim.Optimizer):
    """Keeps one number a row, or with ``whole`` one a weight."""

    def __init__(self, params, lr, whole=False):
        super().__init__(params, dict(lr=lr, whole=whole))

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group['params']:
                self.state[p]['norms'] = p.grad if group['whole'] else p.grad.flatten(1).norm(dim=1)


class ManyRows(RowNorms):
    """Keeps one number a row of large parameters only, and passes its options on."""

    def __init__(self, params, **options):
        super().__init__(params, **options)

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group['params']:
                rows = min(p.shape[:2]) >= 128
                self.state[p]['norms'] = p.grad.flatten(1).norm(dim=1) if rows else p.grad


class NeedsMore(RowNorms):
    """Cannot be built without an argument that its options do not have."""

    def __init__(self, params, lr, required):
        super().__init__(params, lr)


def test_options_of_the_param_group_count():
    model = ToyDetector()
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=weights, whole=True), dict(params=others)]
    checked(RowNorms(groups, lr=0.1), model)
    with pytest.raises(ValueError, match=f'RowNorms {REFUSED}'):
        checked(RowNorms(model.parameters(), lr=0.1), model)


def test_thresholds_on_the_size_of_a_parameter_are_seen():
    small = ToyDetector()
    checked(ManyRows(small.parameters(), lr=0.1), small)
    large = nn.Sequential(nn.Conv2d(3, 300, 1), nn.Conv2d(300, 200, 1), nn.Conv2d(200, 2, 1))
    with pytest.raises(
        ValueError, match=r"'norms' of a parameter like 1\.weight in shape \(200,\)"
    ):
        checked(ManyRows(large.parameters(), lr=0.1), large)


def test_an_optimizer_that_cannot_be_tried_out_is_left_to_the_prune_step():
    model = ToyDetector()
    checked(NeedsMore(model.parameters(), lr=0.1, required=True), model)
    checked(torch.optim.SparseAdam([model.inner.weight]), model)


def test_parameters_that_are_not_pruned_may_have_any_state():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1))
    optimizer = RowNorms(model[2].parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r'like 2\.weight'):
        checked(optimizer, model)
    checked(optimizer, model, exclude=['1'])


def test_the_optimizer_and_the_model_are_not_changed():
    model = ToyDetector()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    sum(model(**toy_batch(0), mode='loss').values()).backward()
    optimizer.step()
    before = copy.deepcopy((optimizer.state_dict(), model.state_dict()))
    gradients = [p.grad.clone() for p in model.parameters()]
    random = torch.get_rng_state()
    checked(optimizer, model)
    for old, new in zip(before[0]['state'].values(), optimizer.state.values(), strict=True):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert before[0]['param_groups'] == optimizer.state_dict()['param_groups']
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in before[1].items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


def test_pruner_refuses_the_optimizer():
    model = ToyDetector()
    with pytest.raises(ValueError, match=f'RowNorms {REFUSED}'):
        Pruner(
            model, example_image(SIZE), importance=MagnitudeImportance(),
            budget=ParamsBudget(keep_ratio=0.5), optimizers=[RowNorms(model.parameters(), lr=0.1)],
        )  # fmt: skip
