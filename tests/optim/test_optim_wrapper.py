from itertools import pairwise

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from adasap_det.optim import AdaSAPOptimWrapper, AmpAdaSAPOptimWrapper, Rows
from adasap_det.optim.loss_check import MOST_SKIPPED, NonFiniteLossError
from adasap_det.optim.optim_wrapper import RISE_KEY

from ..helpers.toy import ToyDetector, toy_batch
from .conftest import CPUScaler


class SecondPassError(Exception):
    pass


def toy(seed=0, **kwargs):
    """In double precision: rounding would grow over the steps. Radii here are exact in float32."""
    torch.manual_seed(seed)
    return ToyDetector(**kwargs).double().train()


SINGLE = [toy_batch(seed) for seed in range(4)]
BATCHES = [{k: v.double() for k, v in batch.items()} for batch in SINGLE]


def sgd(model, **kwargs):
    return torch.optim.SGD(model.parameters(), **{'lr': 0.1, 'momentum': 0.9} | kwargs)


def total_loss(model, batch):
    return sum(model(**batch, mode='loss').values())


def assert_same(actual, expected, *, rtol=0.0):
    """State dicts are equal, to the last bit or within ``rtol`` of each tensor's size."""
    actual, expected = actual.state_dict(), expected.state_dict()
    assert list(actual) == list(expected)
    for name, value in expected.items():
        if rtol and value.is_floating_point():
            error = (actual[name] - value).norm() / value.norm().clamp_min(1e-9)
            assert error < rtol, f'{name} differs by {error:.1e}'
        else:
            assert torch.equal(actual[name], value), name


def train(model, wrapper, batches=BATCHES):
    torch.manual_seed(7)
    for batch in batches:
        model.train_step(batch, wrapper)
    return model


# ------------------------------------------------------------------ reference loop


def sam_direction(weights, rho):
    norm = torch.cat([w.grad.flatten() for w in weights.values()]).norm()
    return {name: rho * w.grad / norm for name, w in weights.items()}


def asam_direction(weights, rho, eta=0.01):
    t_w = {name: w.abs() + eta for name, w in weights.items()}
    norm = torch.cat([(t_w[n] * w.grad).flatten() for n, w in weights.items()]).norm()
    return {n: rho * t_w[n] ** 2 * w.grad / norm for n, w in weights.items()}


def textbook_gradient(model, batches, direction):
    """Leave in ``.grad`` the mean gradient at each micro-batch's own perturbed point."""
    weights = {name: w for name, w in model.named_parameters() if w.requires_grad}
    sums = {}
    for batch in batches:
        model.zero_grad()
        before = torch.get_rng_state()
        total_loss(model, batch).backward()
        after = torch.get_rng_state()
        statistics = {name: b.clone() for name, b in model.named_buffers()}
        dense = {name: w.detach().clone() for name, w in weights.items()}
        with torch.no_grad():
            moved = {name: w for name, w in weights.items() if w.grad is not None}
            for name, eps in direction(moved).items():
                weights[name] += eps
        model.zero_grad()
        torch.set_rng_state(before)
        total_loss(model, batch).backward()
        torch.set_rng_state(after)
        with torch.no_grad():
            for name, w in weights.items():
                w.copy_(dense[name])
                if w.grad is not None:
                    sums[name] = sums.get(name, 0) + w.grad / len(batches)
            for name, b in model.named_buffers():
                b.copy_(statistics[name])
    for name, w in weights.items():
        w.grad = sums.get(name)


def textbook(model, direction, *, optimizer=None, accumulate=1, max_norm=None, batches=BATCHES):
    optimizer = optimizer or sgd(model)
    torch.manual_seed(7)
    for first in range(0, len(batches), accumulate):
        textbook_gradient(model, batches[first : first + accumulate], direction)
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
    return model


# ------------------------------------------------------------------ matches the reference loop


@pytest.mark.parametrize('foreach', [True, False])
@pytest.mark.parametrize(
    ('form', 'rho', 'direction'), [('sam', 0.25, sam_direction), ('asam', 0.75, asam_direction)]
)
def test_uniform_stage_matches_reference_loop(form, rho, direction, foreach):
    actual, expected = toy(), toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(actual), form=form, rho=rho, foreach=foreach)
    train(actual, wrapper)
    textbook(expected, lambda weights: direction(weights, rho))
    assert_same(actual, expected, rtol=1e-9)
    # The result differs from plain training.
    plain = toy()
    train(plain, OptimWrapper(sgd(plain)))
    assert (plain.stem.weight - actual.stem.weight).norm() > 1e-2


@pytest.mark.parametrize(
    ('form', 'rho', 'direction'), [('sam', 0.05, sam_direction), ('asam', 2.0, asam_direction)]
)
def test_single_precision_step(form, rho, direction):
    actual, expected = toy().float(), toy().float()
    train(actual, AdaSAPOptimWrapper(optimizer=sgd(actual), form=form, rho=rho), SINGLE[:1])
    textbook(expected, lambda weights: direction(weights, rho), batches=SINGLE[:1])
    assert_same(actual, expected, rtol=1e-6)


# Channels of two groups, counted over the model, for some parameters of the toy. The output
# channels 0 and 1 of ``depth`` belong to no group, nor do all the parameters not named.
SCORES = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 3.5])
BALLS = {
    'inner.weight': (0, [0, 1, 2, 3, 4, 5]),
    'inner.bias': (0, [0, 1, 2, 3, 4, 5]),
    'inner_bn.weight': (0, [0, 1, 2, 3, 4, 5]),
    'back.weight': (1, [6, 7, 8, 6, 7, 8]),  # rows are input channels here
    'depth.weight': (0, [-1, -1, 0, 1, 2, 6, 7, 8]),
}


def rows_of(model):
    parameters = dict(model.named_parameters())
    return {parameters[n]: Rows(dim, torch.tensor(ball)) for n, (dim, ball) in BALLS.items()}


def adaptive_direction(weights, form, *, rho_min, rho_max, rho, eta=0.01, ungrouped='uniform'):
    """One ball at a time, its elements picked from every parameter with a mask."""
    radii = {c: rho_max - s / 8.0 * (rho_max - rho_min) for c, s in enumerate(SCORES.tolist())}
    radii[-1] = rho if ungrouped == 'uniform' else 0.0
    eps = {name: torch.zeros_like(w) for name, w in weights.items()}
    for ball, radius in radii.items():
        inside = {}
        for name, w in weights.items():
            dim, owner = BALLS.get(name, (0, [-1] * w.shape[0]))
            mask = torch.zeros_like(w, dtype=torch.bool)
            for row, index in enumerate(owner):
                if index == ball:
                    mask.select(dim, row).fill_(True)
            inside[name] = mask
        t_w = {
            n: w.abs() + eta if form == 'asam' else torch.ones_like(w) for n, w in weights.items()
        }
        norm = sum((t_w[n] * w.grad)[inside[n]].square().sum() for n, w in weights.items()).sqrt()
        for n, w in weights.items():
            step = radius * t_w[n] ** 2 * w.grad / norm
            eps[n][inside[n]] = step[inside[n]]
    return eps


@pytest.mark.parametrize('ungrouped', ['uniform', 'none'])
@pytest.mark.parametrize(
    ('form', 'radii'),
    [
        ('sam', dict(rho_min=0.03125, rho_max=0.28125, rho=0.0625)),
        ('asam', dict(rho_min=0.125, rho_max=0.875, rho=0.375)),
    ],
)
def test_adaptive_stage_matches_reference_loop(form, radii, ungrouped):
    actual, expected = toy(), toy()
    wrapper = AdaSAPOptimWrapper(
        optimizer=sgd(actual), form=form, ungrouped=ungrouped, radius_map='linear', **radii
    )
    wrapper.stage = 'adaptive'
    wrapper.set_channels(rows_of(actual))
    result = wrapper.set_scores([SCORES])
    assert result.tolist() == pytest.approx(
        [radii['rho_max'] - s / 8 * (radii['rho_max'] - radii['rho_min']) for s in SCORES.tolist()]
    )
    train(actual, wrapper)
    textbook(expected, lambda w: adaptive_direction(w, form, ungrouped=ungrouped, **radii))
    assert_same(actual, expected, rtol=1e-9)


@pytest.mark.parametrize('options', [{'rho': 0}, {'stage': 'plain'}, {'accumulative_counts': 2}])
def test_zero_radius_is_bitwise_equal_to_plain_wrapper(options):
    options = dict(options)
    stage = options.pop('stage', 'uniform')
    accumulate = options.get('accumulative_counts', 1)
    actual, expected = toy(), toy()
    if stage == 'uniform':
        options['rho'] = 0
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(actual), **options)
    wrapper.stage = stage
    assert not wrapper.two_pass
    train(actual, wrapper)
    train(expected, OptimWrapper(sgd(expected), accumulative_counts=accumulate))
    assert_same(actual, expected)


def test_adaptive_with_zero_radii_is_plain():
    actual, expected = toy(), toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(actual), rho_max=0, ungrouped='none')
    wrapper.stage = 'adaptive'
    train(actual, wrapper)
    train(expected, OptimWrapper(sgd(expected)))
    assert_same(actual, expected)


def test_adamw():
    actual, expected = toy(), toy()
    wrapper = AdaSAPOptimWrapper(optimizer=torch.optim.AdamW(actual.parameters(), lr=0.01), rho=0.5)
    train(actual, wrapper)
    textbook(
        expected,
        lambda weights: asam_direction(weights, 0.5),
        optimizer=torch.optim.AdamW(expected.parameters(), lr=0.01),
    )
    # Biases in front of a batch norm have gradients of rounding errors, which Adam magnifies.
    assert_same(actual, expected, rtol=1e-6)


def test_built_from_config_by_registry():
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='AdaSAPOptimWrapper', optimizer=sgd(toy()), form='sam', rho=0.1)
    )
    assert isinstance(wrapper, AdaSAPOptimWrapper)
    radii = wrapper.radius_options
    assert (radii.rho_min, radii.rho_max, radii.rho) == (0.00025, 0.05, 0.1)


def test_defaults():
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(toy()))
    assert (wrapper.form, wrapper.eta, wrapper.stage) == ('asam', 0.01, 'uniform')
    assert wrapper.radius_options.rise is not None
    assert (wrapper.radius_options.radius_map, wrapper.ascent) == ('rank', 'gradient')


def test_absolute_radii_not_given_are_those_of_the_paper():
    radii = AdaSAPOptimWrapper(optimizer=sgd(toy()), rho=2.0).radius_options
    assert (radii.rho_min, radii.rho_max, radii.rho) == (0.01, 2.0, 2.0)


# ------------------------------------------------------------------ accumulation and clipping


def test_each_micro_batch_has_its_own_perturbed_point():
    actual, expected = toy(), toy()
    batches = [toy_batch(seed) for seed in range(6)]
    batches = [{k: v.double() for k, v in b.items()} for b in batches]
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(actual), rho=0.75, accumulative_counts=3)
    torch.manual_seed(7)
    for count, batch in enumerate(batches):
        assert wrapper.inner_count == count
        before = actual.out.weight.detach().clone()
        actual.train_step(batch, wrapper)
        assert torch.equal(actual.out.weight, before) == (count % 3 != 2)
    textbook(expected, lambda weights: asam_direction(weights, 0.75), accumulate=3, batches=batches)
    assert_same(actual, expected, rtol=1e-9)


def test_incomplete_last_accumulation_is_stepped():
    """Four batches by three: MMEngine steps after the third, and after the last alone."""
    actual, expected = toy(), toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(actual), rho=0.75, accumulative_counts=3)
    wrapper.initialize_count_status(actual, 0, 4)
    train(actual, wrapper)
    textbook(expected, lambda weights: asam_direction(weights, 0.75), accumulate=3)
    assert_same(actual, expected, rtol=1e-9)


def test_only_the_final_gradient_is_clipped():
    actual, expected = toy(), toy()
    clip_grad = dict(type='norm', max_norm=0.1)
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(actual), rho=0.75, clip_grad=clip_grad)
    assert clip_grad == dict(type='norm', max_norm=0.1)
    clipped = []
    clip_func = wrapper.clip_func
    wrapper.clip_func = lambda *args, **kwargs: clipped.append(clip_func(*args, **kwargs))
    train(actual, wrapper)
    textbook(expected, lambda weights: asam_direction(weights, 0.75), max_norm=0.1)
    assert_same(actual, expected, rtol=1e-9)
    assert len(clipped) == len(BATCHES)
    assert min(clipped) > 0.1


# ------------------------------------------------------------------ which parameters


def spied_perturbation(model, wrapper, batch=BATCHES[0], at=None):
    """How far each parameter is from its place in the second pass of ``at``, by name."""
    dense = {name: p.detach().clone() for name, p in model.named_parameters()}
    passes = []

    def look(*_):
        passes.append({n: p.detach() - dense[n] for n, p in model.named_parameters()})

    with (at or model).register_forward_pre_hook(look):
        model.train_step(batch, wrapper)
    first, second = passes
    assert not any(eps.any() for eps in first.values())
    return second


def test_frozen_and_unused_parameters():
    def partly_frozen():
        model = toy()
        model.stem.requires_grad_(False)
        model.inner_bn.requires_grad_(False)
        model.unused = nn.Parameter(torch.ones(3, dtype=torch.double))
        return model

    actual, expected = partly_frozen(), partly_frozen()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(actual), rho=0.75)
    eps = spied_perturbation(actual, wrapper)
    still = {name for name, e in eps.items() if not e.any()}
    # In front of a batch norm, inner.bias has no gradient but for rounding.
    assert still - {'inner.bias'} == {'stem.weight', 'inner_bn.weight', 'inner_bn.bias', 'unused'}
    assert actual.unused.grad is None
    assert actual.stem.weight.grad is None

    actual = partly_frozen()
    train(actual, AdaSAPOptimWrapper(optimizer=sgd(actual), rho=0.75))
    textbook(expected, lambda weights: asam_direction(weights, 0.75))
    assert_same(actual, expected, rtol=1e-9)
    assert torch.equal(actual.stem.weight, partly_frozen().stem.weight)


def test_parameter_with_gradient_in_first_pass_only():
    """As the box branch of a detector whose perturbed weights match no positives."""

    class Fickle(ToyDetector):
        def forward(self, *args, mode='tensor', **kwargs):
            losses = super().forward(*args, mode=mode, **kwargs)
            self.calls = getattr(self, 'calls', 0) + 1
            if self.calls % 2:
                losses['loss_extra'] = self.extra.sum()
            return losses

    torch.manual_seed(0)
    model = Fickle().double()
    model.extra = nn.Parameter(torch.ones(2, dtype=torch.double))
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), rho=0.75)
    eps = spied_perturbation(model, wrapper)
    assert eps['extra'].abs().min() > 0
    assert model.extra.tolist() == [1.0, 1.0]  # back in its place, and not stepped


def test_excluded_parameters_are_not_perturbed():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), rho=0.75, exclude=['*.bias', 'stem*'])
    eps = spied_perturbation(model, wrapper)
    still = {name for name, e in eps.items() if not e.any()}
    assert still == {n for n in eps if n.endswith('.bias') or n.startswith('stem')}
    # The others share the whole radius.
    t_w = {n: p.detach().abs() + 0.01 for n, p in toy().named_parameters()}
    norm = torch.cat([(e / t_w[n]).flatten() for n, e in eps.items()]).norm()
    assert norm.item() == pytest.approx(0.75, rel=1e-6)


def test_exclude_accepts_a_single_string():
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(toy()), exclude='out.*')
    assert wrapper.exclude == ('out.*',)


@pytest.mark.parametrize('stage', ['plain', 'uniform'])
def test_unmatched_exclude_pattern_is_an_error_in_first_step(stage):
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), exclude=['inner', 'bbox_haed.*'])
    wrapper.stage = stage
    with pytest.raises(ValueError, match=r"exclude pattern 'bbox_haed\.\*' matches no parameter"):
        model.train_step(BATCHES[0], wrapper)
    assert_same(model, toy())


def test_norm_only_perturbs_norm_layers_and_trains_all_parameters():
    actual, expected = toy(), toy()
    train(actual, AdaSAPOptimWrapper(optimizer=sgd(actual), rho=0.75, layers='norm'))

    def direction(weights):
        return asam_direction({n: w for n, w in weights.items() if '_bn.' in n}, 0.75)

    textbook(expected, direction)
    assert_same(actual, expected, rtol=1e-9)


def test_unperturbed_parameters_need_no_gradient_in_first_pass():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), layers='norm')
    seen = []
    model.out.weight.register_hook(lambda grad: seen.append('out'))
    model.joint_bn.weight.register_hook(lambda grad: seen.append('norm'))
    model.train_step(BATCHES[0], wrapper)
    assert sorted(seen) == ['norm', 'norm', 'out']


def test_perturb_ratio_perturbs_only_the_least_important():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), perturb_ratio=0.4, ungrouped='none')
    wrapper.stage = 'adaptive'
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES])
    eps = spied_perturbation(model, wrapper, BATCHES[0])
    # Mean scores: 2.5 for the three of 'inner', 6.2 for 'back', 3.9 for 'depth'. Two of five.
    moved = {name for name, e in eps.items() if e.norm() > 0}
    assert len(moved) == 2
    assert moved < {'inner.weight', 'inner.bias', 'inner_bn.weight'}


def test_excluding_everything_gives_the_plain_step():
    actual, expected = toy(), toy()
    train(actual, AdaSAPOptimWrapper(optimizer=sgd(actual), exclude=['*']))
    train(expected, OptimWrapper(sgd(expected)))
    assert_same(actual, expected)


@pytest.mark.parametrize(('ungrouped', 'radius'), [('uniform', 0.4), ('none', 0.0)])
def test_ungrouped_parameters(ungrouped, radius):
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), form='sam', ungrouped=ungrouped, rho=0.4)
    wrapper.stage = 'adaptive'
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES])
    eps = spied_perturbation(model, wrapper)
    rest = [e.flatten() for name, e in eps.items() if name not in BALLS]
    rest.append(eps['depth.weight'][:2].flatten())
    assert torch.cat(rest).norm().item() == pytest.approx(radius, rel=1e-6)
    assert eps['inner.weight'].abs().max() > 0


# ------------------------------------------------------------------ rise


@pytest.mark.parametrize('form', ['sam', 'asam'])
@pytest.mark.parametrize('stage', ['uniform', 'adaptive', 'inverse'])
def test_first_step_rises_by_the_aim_to_first_order(form, stage):
    model, twin = toy(dropout=0.0), toy(dropout=0.0)
    wrapper = AdaSAPOptimWrapper(
        optimizer=sgd(model), form=form, rise=1e-3, uniform_rise=2e-3, ungrouped='uniform'
    )
    wrapper.stage = stage
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES])
    eps = spied_perturbation(model, wrapper, BATCHES[0])
    total_loss(twin, BATCHES[0]).backward()
    rise = sum((eps[n] * p.grad).sum() for n, p in twin.named_parameters() if p.grad is not None)
    assert rise.item() == pytest.approx(2e-3 if stage == 'uniform' else 1e-3, rel=1e-5)


@pytest.mark.parametrize('aim', [0.05, 1.0])
def test_measured_rise_comes_to_the_aim(aim):
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model, lr=0.0), uniform_rise=aim)
    train(model, wrapper, BATCHES * 40)
    scalars = wrapper.message_hub.log_scalars
    assert scalars['train/rise'].data[0][-80:].mean() == pytest.approx(aim, rel=0.1)
    assert scalars['train/rise_aim'].current() == pytest.approx(aim)


def test_a_ball_is_moved_by_at_most_half_of_its_weights():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), rise=1e9)
    wrapper.stage = 'adaptive'
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES])
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    eps = spied_perturbation(model, wrapper, BATCHES[0])

    def norm(tensors, channel):  # rows c and c + 3 of dimension 1, and a row of 'depth'
        parts = tensors['back.weight'][:, channel::3], tensors['depth.weight'][5 + channel]
        return torch.cat([part.flatten() for part in parts]).norm()

    for channel in range(3):
        assert float(norm(eps, channel)) == pytest.approx(0.5 * float(norm(weights, channel)))


@pytest.mark.parametrize('scale', [1.0, 2.0**16])
def test_rise_does_not_depend_on_the_scale_of_mixed_precision(on_cpu, scale):
    actual, expected = toy(), toy()
    scaled = AmpAdaSAPOptimWrapper(optimizer=sgd(actual), loss_scale=scale)
    train(actual, scaled)
    train(expected, AdaSAPOptimWrapper(optimizer=sgd(expected)))
    assert_same(actual, expected, rtol=1e-6)


def test_the_correction_of_the_rise_is_resumed():
    whole, first = toy(), toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(whole))
    train(whole, wrapper, BATCHES[:2])
    begun = AdaSAPOptimWrapper(optimizer=sgd(first))
    train(first, begun, BATCHES[:2])
    resumed = toy()
    resumed.load_state_dict(first.state_dict())
    again = AdaSAPOptimWrapper(optimizer=sgd(resumed))
    again.load_state_dict(begun.state_dict())
    for model, each in ((whole, wrapper), (resumed, again)):
        train(model, each, BATCHES[2:])
    assert_same(resumed, whole)


def test_a_plain_wrapper_resumes_from_the_state():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    train(model, wrapper)
    plain = OptimWrapper(sgd(model))
    plain.load_state_dict(wrapper.state_dict())
    assert plain.optimizer.state[model.stem.weight]['momentum_buffer'].any()


# ------------------------------------------------------------------ ascents with one pass


def test_ascent_on_the_whole_batch_as_its_part_is_the_two_pass_step():
    actual, expected = toy(), toy()
    part = AdaSAPOptimWrapper(
        optimizer=sgd(actual), ascent='subbatch', subbatch_ratio=1.0, rho=0.75
    )
    train(actual, part)
    train(expected, AdaSAPOptimWrapper(optimizer=sgd(expected), rho=0.75))
    assert_same(actual, expected, rtol=1e-12)


def test_ascent_on_a_part_uses_the_gradient_of_the_first_images():
    model, twin = toy(dropout=0.0), toy(dropout=0.0)
    wrapper = AdaSAPOptimWrapper(
        optimizer=sgd(model), form='sam', ascent='subbatch', subbatch_ratio=0.5, rho=0.75
    )
    eps = spied_perturbation(model, wrapper, BATCHES[0], at=model.stem)
    half = {k: v[: len(v) // 2] for k, v in BATCHES[0].items()}
    torch.manual_seed(7)
    total_loss(twin, half).backward()
    weights = {n: p for n, p in twin.named_parameters() if p.grad is not None}
    for name, expected in sam_direction(weights, 0.75).items():
        torch.testing.assert_close(eps[name], expected, rtol=1e-6, atol=1e-9)


def test_batch_norm_never_sees_perturbed_weights():
    """With a learning rate of 0 the statistics are those of passes at the real weights."""
    actual, expected = toy(), toy()
    wrapper = AdaSAPOptimWrapper(
        optimizer=sgd(actual, lr=0.0), ascent='subbatch', subbatch_ratio=1.0, rho=0.75
    )
    train(actual, wrapper, BATCHES[:1] * 3)
    torch.manual_seed(7)
    for _ in range(3):
        total_loss(expected, BATCHES[0])
    for (name, a), e in zip(actual.named_buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(a, e, msg=name, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('where', ['forward', 'backward'])
def test_error_with_a_part_of_the_batch_restores_weights_and_buffers(where):
    class Fails(ToyDetector):
        armed = False

        def forward(self, *args, mode='tensor', **kwargs):
            losses = super().forward(*args, mode=mode, **kwargs)
            if self.armed and where == 'forward':
                raise SecondPassError
            if self.armed:
                losses['loss_fit'].register_hook(fail)
            return losses

    def fail(grad):
        raise SecondPassError

    torch.manual_seed(0)
    model = Fails().double().train()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), ascent='subbatch', rho=0.75)
    train(model, wrapper, BATCHES[:2])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    original = wrapper._loss_of

    def loss_of(*args):  # the pass at the real weights does not fail
        model.armed = False
        try:
            return original(*args)
        finally:
            model.armed = True

    wrapper._loss_of = loss_of
    model.armed = True
    with pytest.raises(SecondPassError):
        model.train_step(BATCHES[2], wrapper)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert not model._forward_pre_hooks


def test_nonfinite_loss_with_a_part_of_the_batch_restores_the_weights():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), ascent='subbatch', rho=0.75)
    train(model, wrapper, BATCHES[:2])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = {**BATCHES[2], 'targets': BATCHES[2]['targets'] * float('nan')}
    with pytest.raises(NonFiniteLossError, match='perturbed weights'):
        model.train_step(batch, wrapper)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_steps_on_a_part_of_the_batch_accumulate():
    """Two equal micro-batches are one batch, as nothing is drawn at random."""
    actual, expected = toy(dropout=0.0), toy(dropout=0.0)
    one = AdaSAPOptimWrapper(optimizer=sgd(expected), ascent='subbatch', rho=0.75)
    two = AdaSAPOptimWrapper(
        optimizer=sgd(actual), ascent='subbatch', rho=0.75, accumulative_counts=2
    )
    train(expected, one, BATCHES)
    train(actual, two, [batch for batch in BATCHES for _ in range(2)])
    for (name, a), e in zip(actual.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-12, msg=name)


def test_steps_on_a_part_in_mixed_precision_match_those_without(on_cpu):
    actual, expected = toy(), toy()
    train(actual, AmpAdaSAPOptimWrapper(optimizer=sgd(actual), ascent='subbatch'))
    train(expected, AdaSAPOptimWrapper(optimizer=sgd(expected), ascent='subbatch'))
    assert_same(actual, expected, rtol=1e-6)


def test_the_rise_is_measured_with_a_part_of_the_batch():
    model = toy(dropout=0.0)
    wrapper = AdaSAPOptimWrapper(
        optimizer=sgd(model, lr=0.0), ascent='subbatch', subbatch_ratio=1.0, uniform_rise=0.2
    )
    wrapper.message_hub.log_scalars.clear()
    train(model, wrapper, BATCHES[:1] * 200)
    rises = wrapper.message_hub.log_scalars['train/rise'].data[0]
    assert len(rises) == 200
    assert rises[-3:].mean() == pytest.approx(0.2, rel=0.1)


# ------------------------------------------------------------------ observers of gradients


def observed_gradients(wrapper, model):
    found = []
    wrapper.gradient_observers.append(
        lambda: found.append({n: p.grad.clone() for n, p in model.named_parameters()
                              if p.grad is not None})
    )  # fmt: skip
    return found


@pytest.mark.parametrize('kind', ['plain', 'two passes', 'AMP', 'clipped', 'part', 'LookSAM'])
def test_observers_see_the_gradient_at_the_real_weights(on_cpu, kind):
    model, twin = toy(), toy()
    make = AmpAdaSAPOptimWrapper if kind == 'AMP' else AdaSAPOptimWrapper
    options = {
        'clipped': dict(clip_grad=dict(max_norm=1e-3)),
        'part': dict(perturb_ratio=0.4, ungrouped='none'),
        'LookSAM': dict(interval=2),
    }.get(kind, {})
    wrapper = make(optimizer=sgd(model, lr=0.0), **options)
    wrapper.stage = {'plain': 'plain', 'clipped': 'plain', 'part': 'adaptive'}.get(kind, 'uniform')
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES])
    found = observed_gradients(wrapper, model)
    train(model, wrapper, BATCHES[:2])
    assert len(found) == 2
    torch.manual_seed(7)
    for batch, seen in zip(BATCHES, found, strict=False):
        twin.zero_grad()
        total_loss(twin, batch).backward()
        for name, p in twin.named_parameters():
            if p.grad is not None:
                torch.testing.assert_close(seen[name], p.grad, rtol=1e-9, atol=1e-12, msg=name)


def test_observers_see_each_micro_batch_of_two_passes():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), accumulative_counts=2)
    found = observed_gradients(wrapper, model)
    train(model, wrapper)
    assert len(found) == 4
    wrapper.stage = 'plain'
    train(model, wrapper)
    assert len(found) == 6


# ------------------------------------------------------------------ state


def test_optimizer_state_has_no_perturbation():
    sharp, plain = toy(), toy()
    train(sharp, wrapper := AdaSAPOptimWrapper(optimizer=sgd(sharp)))
    train(plain, reference := OptimWrapper(sgd(plain)))
    actual, expected = wrapper.state_dict(), reference.state_dict()
    assert actual.keys() - {RISE_KEY} == expected.keys()
    assert actual['param_groups'] == expected['param_groups']
    assert {i: s.keys() for i, s in actual['state'].items()} == {
        i: s.keys() for i, s in expected['state'].items()
    }


def test_rise_is_logged():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), rho=0.75)
    twin = toy()
    torch.manual_seed(7)
    loss = total_loss(twin, BATCHES[0])
    loss.backward()
    with torch.no_grad():
        weights = dict(twin.named_parameters())
        for name, eps in asam_direction(weights, 0.75).items():
            weights[name] += eps
    torch.manual_seed(7)
    perturbed = total_loss(twin, BATCHES[0])
    train(model, wrapper, BATCHES[:1])
    logged = MessageHub.get_current_instance().get_scalar('train/rise').current()
    assert float(logged) == pytest.approx((perturbed - loss).item(), rel=1e-4)


@pytest.mark.parametrize('form', ['sam', 'asam'])
def test_perturbation_norm_is_logged(form):
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), form=form, rho=0.3)
    eps = spied_perturbation(model, wrapper, BATCHES[0])
    norm = torch.cat([e.flatten() for e in eps.values()]).norm().item()
    logged = wrapper.message_hub.get_scalar('train/perturbation_norm').current()
    assert logged == pytest.approx(norm, rel=1e-5)
    if form == 'sam':
        assert logged == pytest.approx(0.3)


def test_gradients_are_cleared_after_the_step():
    model = toy()
    train(model, AdaSAPOptimWrapper(optimizer=sgd(model)))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize('where', ['forward', 'backward'])
def test_error_in_second_pass_restores_weights_and_buffers(where):
    class Fails(ToyDetector):
        def forward(self, *args, mode='tensor', **kwargs):
            losses = super().forward(*args, mode=mode, **kwargs)
            self.calls = getattr(self, 'calls', 0) + 1
            if self.calls == 2 and where == 'forward':
                raise SecondPassError
            if self.calls == 2:
                losses['loss_fit'].register_hook(self.fail)
            return losses

        def fail(self, grad):
            raise SecondPassError

    torch.manual_seed(0)
    model, twin = Fails().double(), toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    torch.manual_seed(7)
    total_loss(twin, BATCHES[0])  # the first pass moves the statistics
    torch.manual_seed(7)
    with pytest.raises(SecondPassError):
        model.train_step(BATCHES[0], wrapper)
    assert_same(model, twin)
    assert not model._forward_pre_hooks


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
@pytest.mark.parametrize('stage', ['uniform', 'adaptive'])
def test_nonfinite_first_pass_does_not_perturb(bad, stage):
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model, lr=0.0))
    wrapper.stage = stage
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES])
    # The loss itself is finite: a gradient can overflow alone.
    model.stem.weight.register_hook(lambda grad: grad * bad)
    eps = spied_perturbation(model, wrapper, BATCHES[0])
    assert all(torch.equal(e, torch.zeros_like(e)) for e in eps.values())


def test_nonfinite_loss_is_an_error_before_the_step():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    wrapper.message_hub.update_info('iter', 41)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = {**BATCHES[0], 'targets': BATCHES[0]['targets'] * float('nan')}
    for stage in ('plain', 'uniform'):
        wrapper.stage = stage
        with pytest.raises(NonFiniteLossError, match='in iteration 41: loss_fit = nan; '):
            model.train_step(batch, wrapper)
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_nonfinite_loss_at_perturbed_weights():
    model = toy().float()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), form='sam', rho=1e38)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper.message_hub.update_info('iter', 7)
    with pytest.raises(NonFiniteLossError, match=r'perturbed weights in iteration 7.*lower rho'):
        model.train_step(SINGLE[0], wrapper)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


# ------------------------------------------------------------------ misuse


def test_update_params_without_context():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    with pytest.raises(RuntimeError, match='optim_context was not entered'):
        wrapper.update_params(total_loss(model, BATCHES[0]))


def test_context_is_valid_for_one_update():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    model.train_step(BATCHES[0], wrapper)
    with pytest.raises(RuntimeError, match='optim_context was not entered'):
        wrapper.update_params(total_loss(model, BATCHES[0]))


@pytest.mark.parametrize('calls', [0, 2])
def test_model_must_be_called_exactly_once(calls):
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    loss = torch.zeros((), requires_grad=True)
    with wrapper.optim_context(model):
        for _ in range(calls):
            loss = total_loss(model, BATCHES[0])
    with pytest.raises(RuntimeError, match=f'saw {calls} calls of the model'):
        wrapper.update_params(loss)


def test_optim_wrapper_dict():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    both = OptimWrapperDict(main=wrapper)
    loss = total_loss(model, BATCHES[0])
    with pytest.raises(RuntimeError, match='OptimWrapperDict'):
        both['main'].update_params(loss)
    # With its context around the call it works.
    with both['main'].optim_context(model):
        loss = total_loss(model, BATCHES[0])
    both['main'].update_params(loss)


def test_adaptive_stage_needs_scores():
    model = toy()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model))
    wrapper.stage = 'adaptive'
    with pytest.raises(RuntimeError, match='PruningHook'):
        model.train_step(BATCHES[0], wrapper)
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES])
    model.train_step(BATCHES[0], wrapper)
    wrapper.set_channels(rows_of(model))  # the old scores are invalid after pruning
    with pytest.raises(RuntimeError, match='PruningHook'):
        model.train_step(BATCHES[0], wrapper)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'form': 'gsam'}, r"optim_wrapper\.form .* got 'gsam'"),
        ({'ungrouped': 'all'}, r"optim_wrapper\.ungrouped .* got 'all'"),
        ({'layers': 'conv'}, r"optim_wrapper\.layers .* got 'conv'"),
        ({'perturb_ratio': 0.0}, r'optim_wrapper\.perturb_ratio .* got 0\.0'),
        ({'perturb_ratio': 1.5}, r'optim_wrapper\.perturb_ratio .* got 1\.5'),
        ({'interval': 0}, r'optim_wrapper\.interval .* got 0'),
        ({'interval': 2.5}, r'optim_wrapper\.interval .* got 2\.5'),
        ({'alpha': -1.0}, r'optim_wrapper\.alpha .* got -1\.0'),
        ({'eta': -1.0}, r'optim_wrapper\.eta .* got -1\.0'),
        ({'rho': -0.5}, r'optim_wrapper\.rho .* got -0\.5'),
        ({'rho': float('nan')}, r'optim_wrapper\.rho .* got nan'),
        ({'rho': float('inf')}, r'optim_wrapper\.rho .* got inf'),
        ({'rho_min': 3.0}, r'rho_min=3\.0 exceeds rho_max=2\.0'),
        ({'rho_max': -1.0}, r'rho_max=-1\.0'),
        ({'ascent': 'free'}, r"optim_wrapper\.ascent .* got 'free'"),
        ({'subbatch_ratio': 0.0}, r'optim_wrapper\.subbatch_ratio .* got 0\.0'),
        ({'ascent': 'subbatch', 'interval': 2}, r"interval=2 reuses .* ascent='subbatch'"),
        ({'rise': 0.4, 'rho_max': 1.0}, 'rise and rho_max: '),
    ],
)
def test_invalid_options_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        AdaSAPOptimWrapper(optimizer=sgd(toy()), **options)


def test_unknown_stage():
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(toy()))
    with pytest.raises(ValueError, match=r"stage .* got 'warm-up'"):
        wrapper.stage = 'warm-up'
    assert wrapper.stage == 'uniform'


# ------------------------------------------------------------------ inputs modified in place


class Meddler(BaseModel):
    """Its loss doubles the images and takes the boxes away from the samples."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.double))

    def forward(self, inputs, samples, mode='tensor'):
        inputs.mul_(2)
        return {'loss': (self.weight * inputs + samples.pop('boxes')).square().sum()}


def test_inputs_modified_in_place_by_the_model():
    """L = |2 w x + b|^2 in both passes; SAM with rho = 1 by hand."""
    model = Meddler()
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model, lr=0.01, momentum=0), form='sam', rho=1.0)
    boxes = torch.tensor([1.0, -1.0], dtype=torch.double)
    x = torch.tensor([1.0, 0.5], dtype=torch.double)

    def gradient(w):
        return 2 * (2 * w * x + boxes) * 2 * x

    w = model.weight.detach().clone()
    g = gradient(w)
    expected = w - 0.01 * gradient(w + g / g.norm())
    model.train_step({'inputs': x.clone(), 'samples': {'boxes': boxes}}, wrapper)
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-6, atol=0)


# ------------------------------------------------------------------ mixed precision


def test_ascent_gradient_is_scaled(on_cpu):
    model = toy()
    wrapper = AmpAdaSAPOptimWrapper(optimizer=sgd(model), loss_scale=1024.0)
    weight = torch.ones(2, requires_grad=True)
    wrapper._ascent_backward((3 * weight).sum())
    assert weight.grad.tolist() == [3072, 3072]
    assert wrapper.inner_count == 0


@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=0.1)])
def test_steps_with_grad_scaler_match_reference(on_cpu, clip_grad):
    """Autocast leaves float64 alone, so that only the scaling is seen."""
    actual, expected = toy(), toy()
    wrapper = AmpAdaSAPOptimWrapper(
        optimizer=sgd(actual),
        rho=0.75,
        loss_scale=dict(init_scale=2.0**16),
        clip_grad=clip_grad,
    )
    train(actual, wrapper)
    textbook(
        expected,
        lambda weights: asam_direction(weights, 0.75),
        max_norm=clip_grad and clip_grad['max_norm'],
    )
    assert_same(actual, expected, rtol=1e-9)
    assert wrapper.state_dict()['loss_scaler']['_growth_tracker'] == len(BATCHES)


def test_overflow_skips_step_and_lowers_scale(on_cpu):
    model = toy()
    wrapper = AmpAdaSAPOptimWrapper(optimizer=sgd(model), loss_scale=dict(init_scale=2.0**16))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = {**BATCHES[0], 'targets': BATCHES[0]['targets'] * float('inf')}
    model.train_step(batch, wrapper)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert wrapper.loss_scaler.get_scale() == 2.0**15


def test_overflow_in_first_pass_only_skips_the_perturbation(on_cpu):
    actual, expected = toy(), toy()
    wrapper = AmpAdaSAPOptimWrapper(optimizer=sgd(actual), loss_scale=dict(init_scale=2.0**16))
    calls = []

    def overflow(grad):
        calls.append(1)
        return grad * float('inf') if len(calls) == 1 else grad

    actual.out.weight.register_hook(overflow)
    train(actual, wrapper, BATCHES[:1])
    train(expected, OptimWrapper(optimizer=sgd(expected)), BATCHES[:1])
    assert_same(actual, expected, rtol=1e-9)
    assert wrapper.loss_scaler.get_scale() == 2.0**16


@pytest.mark.parametrize('accumulate', [1, 2])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=0.1)])
def test_scale_history_matches_plain_mixed_precision(on_cpu, monkeypatch, accumulate, clip_grad):
    """Overflows at the same steps, growth after as many good ones, one unscale a step."""
    unscaled = []
    unscale = CPUScaler.unscale_
    monkeypatch.setattr(
        CPUScaler, 'unscale_', lambda self, opt: unscaled.append(1) or unscale(self, opt)
    )
    histories = []
    for make in (AmpAdaSAPOptimWrapper, AmpOptimWrapper):
        model = toy()
        wrapper = make(
            optimizer=sgd(model, lr=0.001),
            accumulative_counts=accumulate,
            clip_grad=clip_grad,
            loss_scale=dict(init_scale=2.0**10, growth_interval=2),
        )
        scales = []
        for index in range(12):
            batch = BATCHES[index % 4]
            if index in (3, 8):
                batch = {**batch, 'targets': batch['targets'] * float('inf')}
            model.train_step(batch, wrapper)
            scales.append(wrapper.loss_scaler.get_scale())
        histories.append(scales)
        assert len(unscaled) == 12 // accumulate
        unscaled.clear()
    assert histories[0] == histories[1]
    changes = {after / before for before, after in pairwise(histories[0])}
    assert changes == {0.5, 1.0, 2.0}


class SometimesInfinite(ToyDetector):
    """Its loss is infinite in the passes listed in ``bad``, counted from 0."""

    def __init__(self, bad):
        super().__init__()
        self.bad, self.passes = bad, 0

    def forward(self, *args, mode='tensor', **kwargs):
        losses = super().forward(*args, mode=mode, **kwargs)
        if self.bad(self.passes):
            losses['loss_fit'] = losses['loss_fit'] * float('inf')
        self.passes += 1
        return losses


@pytest.mark.parametrize(
    ('bad', 'accumulate', 'where'),
    [
        (lambda n: True, 1, ' in iteration'),
        (lambda n: n % 2 == 1, 1, ' at the perturbed weights'),
        (lambda n: n % 4 == 1, 2, ' at the perturbed weights'),  # of each first micro-batch
    ],
)
def test_persistent_infinite_loss_ends_training_with_grad_scaler(on_cpu, bad, accumulate, where):
    model = SometimesInfinite(bad).double()
    wrapper = AmpAdaSAPOptimWrapper(optimizer=sgd(model), accumulative_counts=accumulate)
    with pytest.raises(NonFiniteLossError, match=f'not finite{where}.* loss_fit = inf'):
        for index in range((MOST_SKIPPED + 1) * accumulate):
            model.train_step(BATCHES[index % 4], wrapper)
    assert wrapper.inner_count == MOST_SKIPPED * accumulate


@pytest.mark.parametrize('interval', [1, 2])
def test_isolated_skipped_steps_do_not_end_training(on_cpu, interval):
    model = SometimesInfinite(lambda n: False).double()
    wrapper = AmpAdaSAPOptimWrapper(
        optimizer=sgd(model, lr=0.001), interval=interval, loss_scale=dict(growth_interval=1)
    )
    for index in range(2 * MOST_SKIPPED + 4):
        model.bad = lambda n, skip=index % 2 == 0: skip
        model.train_step(BATCHES[index % 4], wrapper)
    assert wrapper.loss_scaler.get_scale() == 2.0**16


def test_bfloat16_on_the_cpu(on_cpu):
    """Both passes run under autocast: seen by the dtype of the output convolution."""
    torch.manual_seed(0)
    model = ToyDetector()
    wrapper = AmpAdaSAPOptimWrapper(optimizer=sgd(model, lr=0.01), dtype='bfloat16')
    seen = []
    model.out.register_forward_hook(lambda m, i, output: seen.append(output.dtype))
    with torch.autocast('cpu', enabled=False):
        for seed in range(3):
            model.train_step(toy_batch(seed), wrapper)
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in model.parameters())
    assert seen == [torch.bfloat16] * 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@pytest.mark.parametrize('stage', ['uniform', 'adaptive'])
def test_mixed_precision_on_cuda(dtype, stage):
    torch.manual_seed(0)
    model = ToyDetector().cuda()
    wrapper = AmpAdaSAPOptimWrapper(optimizer=sgd(model, lr=0.01), dtype=dtype, rho=0.5)
    wrapper.stage = stage
    wrapper.set_channels(rows_of(model))
    wrapper.set_scores([SCORES.cuda()])
    losses = [model.train_step(toy_batch(0), wrapper)['loss'].item() for _ in range(20)]
    assert losses[-1] < losses[0]
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in model.parameters())
