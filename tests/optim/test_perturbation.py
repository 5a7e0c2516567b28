import math
import random

import pytest
import torch

from adasap_det.optim import Rows, ascent_perturbation

BOTH = pytest.mark.parametrize('foreach', [True, False])
FORMS = pytest.mark.parametrize('form', ['sam', 'asam'])


def rows(dim, *ball):
    return Rows(dim, torch.tensor(ball))


# ------------------------------------------------------------------ numbers by hand


@BOTH
def test_sam_with_one_ball_by_hand(foreach):
    weights = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    grads = [torch.tensor([2.0, -1.0]), torch.tensor([[2.0]])]  # norm 3
    eps, *_ = ascent_perturbation(
        weights, grads, [0, 0], torch.tensor([0.6]), form='sam', foreach=foreach
    )
    torch.testing.assert_close(eps[0], torch.tensor([0.4, -0.2]))
    torch.testing.assert_close(eps[1], torch.tensor([[0.4]]))


@BOTH
def test_asam_with_one_ball_by_hand(foreach):
    # T_w = |w| + 1 = 2, 4 and T_w g = 3, -4, norm 5; eps = 0.5 T_w (T_w g) / 5.
    weights = [torch.tensor([1.0]), torch.tensor([-3.0])]
    grads = [torch.tensor([1.5]), torch.tensor([-1.0])]
    eps, *_ = ascent_perturbation(
        weights, grads, [0, 0], torch.tensor([0.5]), form='asam', eta=1.0, foreach=foreach
    )
    torch.testing.assert_close(eps, [torch.tensor([0.6]), torch.tensor([-1.6])])


@BOTH
def test_one_ball_per_channel_by_hand(foreach):
    """Filters are rows of dimension 0 of one layer, of dimension 1 of the other."""
    weights = [torch.zeros(2, 2), torch.zeros(1, 2), torch.zeros(2)]
    grads = [
        torch.tensor([[3.0, 0.0], [0.0, 6.0]]),
        torch.tensor([[4.0, 8.0]]),
        torch.tensor([0.0, 0.0]),
    ]
    balls = [rows(0, 0, 1), rows(1, 0, 1), rows(0, 1, 0)]  # norms 5 and 10
    eps, *_ = ascent_perturbation(
        weights, grads, balls, torch.tensor([1.0, 5.0]), form='sam', foreach=foreach
    )
    torch.testing.assert_close(eps[0], torch.tensor([[0.6, 0.0], [0.0, 3.0]]))
    torch.testing.assert_close(eps[1], torch.tensor([[0.8, 4.0]]))
    torch.testing.assert_close(eps[2], torch.zeros(2))


# ------------------------------------------------------------------ foreach and reference


def problem(seed, *, zero_share=0.0, dtype=torch.float32):
    """Tensors of random shapes, some entirely in one ball, some with a ball for each row."""
    random.seed(seed)
    generator = torch.Generator().manual_seed(seed)
    balls = random.randint(1, 6)
    weights, grads, membership = [], [], []
    for _ in range(random.randint(1, 7)):
        shape = [random.randint(1, 5) for _ in range(random.randint(0, 4))]
        weight = torch.randn(shape, generator=generator)
        grad = torch.randn(shape, generator=generator)
        grad = grad * (torch.rand(shape, generator=generator) >= zero_share)
        weights.append(weight.to(dtype))
        grads.append(grad.to(dtype))
        if shape and random.random() < 0.7:
            dim = random.randrange(len(shape))
            ball = torch.randint(balls, (shape[dim],), generator=generator)
            membership.append(Rows(dim, ball))
        else:
            membership.append(random.randrange(balls))
    radii = torch.rand(balls, generator=generator) * 2
    return weights, grads, membership, radii


def by_ball(tensors, membership, ball):
    """All elements of one ball in one vector, picked row by row."""
    picked = [torch.zeros(0)]
    for tensor, member in zip(tensors, membership, strict=True):
        if isinstance(member, int):
            picked += [tensor.flatten()] if member == ball else []
        else:
            for row, owner in zip(tensor.unbind(member.dim), member.ball.tolist(), strict=True):
                picked += [row.flatten()] if owner == ball else []
    return torch.cat([p.float() for p in picked])


@FORMS
@pytest.mark.parametrize('seed', range(30))
def test_foreach_equals_reference(seed, form):
    args = problem(seed, zero_share=0.3 if seed % 3 else 0.9)
    fast, *_ = ascent_perturbation(*args, form=form, foreach=True)
    plain, *_ = ascent_perturbation(*args, form=form, foreach=False)
    torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-6)


@FORMS
@BOTH
@pytest.mark.parametrize('seed', range(10))
def test_perturbation_norm_equals_radius_in_each_ball(seed, form, foreach):
    weights, grads, membership, radii = problem(seed)
    eps, *_ = ascent_perturbation(
        weights, grads, membership, radii, form=form, eta=0.1, foreach=foreach
    )
    for ball, rho in enumerate(radii):
        inside = by_ball(eps, membership, ball)
        if form == 'asam':
            inside = inside / (by_ball(weights, membership, ball).abs() + 0.1)
        if inside.numel():
            torch.testing.assert_close(inside.norm(), rho)


@FORMS
@BOTH
@pytest.mark.parametrize('scale', [2.0**16, 1e-8])
def test_invariant_to_gradient_scale(form, foreach, scale):
    weights, grads, membership, radii = problem(3)
    expected, *_ = ascent_perturbation(
        weights, grads, membership, radii, form=form, foreach=foreach
    )
    scaled = [g * scale for g in grads]
    actual, *_ = ascent_perturbation(weights, scaled, membership, radii, form=form, foreach=foreach)
    torch.testing.assert_close(actual, expected)


@BOTH
def test_asam_is_invariant_to_weight_scale(foreach):
    """Scaling w by a and g by 1 / a scales eps by a, where eta is 0."""
    weights, grads, membership, radii = problem(4)
    kwargs = dict(form='asam', eta=0.0, foreach=foreach)
    expected, *_ = ascent_perturbation(weights, grads, membership, radii, **kwargs)
    actual, *_ = ascent_perturbation(
        [w * 8 for w in weights], [g / 8 for g in grads], membership, radii, **kwargs
    )
    torch.testing.assert_close(actual, [8 * e for e in expected])


@FORMS
@BOTH
def test_arguments_are_not_modified(form, foreach):
    args = problem(5)
    before = [[t.clone() for t in tensors] for tensors in args[:2]]
    ascent_perturbation(*args, form=form, foreach=foreach)
    assert all(map(torch.equal, args[0], before[0]))
    assert all(map(torch.equal, args[1], before[1]))


# ------------------------------------------------------------------ rise and largest ratio


@BOTH
def test_first_order_rise_by_hand(foreach):
    """Norms 5 and 10 with radii 1 and 5: eps . g = 1 * 5 + 5 * 10."""
    grads = [torch.tensor([[3.0, 4.0], [6.0, 8.0]])]
    found = ascent_perturbation(
        [torch.ones(2, 2)], grads, [rows(0, 0, 1)], torch.tensor([1.0, 5.0]), form='sam',
        foreach=foreach,
    )  # fmt: skip
    assert float(found.rise) == pytest.approx(55)
    assert float((found.perturbation[0] * grads[0]).sum()) == pytest.approx(55)


@FORMS
@BOTH
@pytest.mark.parametrize('seed', range(5))
def test_radii_are_scaled_to_the_rise_asked_for(seed, form, foreach):
    weights, grads, membership, radii = problem(seed)
    plain = ascent_perturbation(weights, grads, membership, radii, form=form, foreach=foreach)
    found = ascent_perturbation(
        weights, grads, membership, radii, form=form, rise=0.25, foreach=foreach
    )
    products = zip(found.perturbation, grads, strict=True)
    assert float(sum((e * g).sum() for e, g in products)) == pytest.approx(0.25, rel=1e-4)
    assert float(found.rise) == pytest.approx(0.25, rel=1e-4)
    factor = float(found.scale)
    assert factor == pytest.approx(float(found.rise / plain.rise), rel=1e-4)
    torch.testing.assert_close(found.perturbation, [e * factor for e in plain.perturbation])


@FORMS
@BOTH
def test_longer_perturbations_are_shortened_to_the_largest_ratio(form, foreach):
    weights = [torch.tensor([[3.0, 4.0], [30.0, 40.0]])]  # rows of norm 5 and 50
    grads = [torch.tensor([[1.0, 2.0], [0.1, 0.1]])]
    args = (weights, grads, [rows(0, 0, 1)], torch.tensor([10.0, 0.01]))
    (free,), *_ = ascent_perturbation(*args, form=form, foreach=foreach)
    (eps,), rise, _ = ascent_perturbation(*args, form=form, max_ratio=0.5, foreach=foreach)
    assert free[0].norm() > 2.5 > float(free[1].norm())
    torch.testing.assert_close(eps[0], free[0] * 2.5 / free[0].norm())
    torch.testing.assert_close(eps[1], free[1])
    assert float(rise) == pytest.approx(float((eps * grads[0]).sum()))


@FORMS
@pytest.mark.parametrize('seed', range(10))
def test_foreach_equals_reference_with_rise_and_largest_ratio(seed, form):
    args = problem(seed, zero_share=0.3)
    fast = ascent_perturbation(*args, form=form, rise=3.0, max_ratio=0.1, foreach=True)
    plain = ascent_perturbation(*args, form=form, rise=3.0, max_ratio=0.1, foreach=False)
    torch.testing.assert_close(fast.perturbation, plain.perturbation, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fast.rise, plain.rise, rtol=1e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize('value', [0.0, math.nan])
def test_without_a_usable_gradient_no_rise_is_possible(foreach, value):
    found = ascent_perturbation(
        [torch.ones(3)], [torch.full((3,), value)], [0], torch.ones(1), rise=1.0, foreach=foreach
    )
    assert found.perturbation[0].tolist() == [0, 0, 0]
    assert float(found.rise) == 0


# ------------------------------------------------------------------ corner cases


@FORMS
@BOTH
def test_ball_without_gradient_is_not_perturbed(form, foreach):
    weights = [torch.ones(2, 3), torch.ones(4)]
    grads = [torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]), torch.ones(4)]
    eps, *_ = ascent_perturbation(
        weights, grads, [rows(0, 0, 1), 2], torch.ones(3), form=form, foreach=foreach
    )
    assert torch.equal(eps[0][0], torch.zeros(3))
    assert eps[0][1].norm() > 0
    assert eps[1].norm() > 0


@FORMS
@BOTH
@pytest.mark.parametrize('bad', [math.nan, math.inf])
@pytest.mark.parametrize('membership', [[0, 0], [rows(0, 0, 1), 2], [2, rows(0, 0, 1, 1, 0)]])
def test_nonfinite_gradient_perturbs_nothing(form, foreach, bad, membership):
    grads = [torch.ones(2, 3), torch.ones(4)]
    grads[0][1, 1] = bad
    eps, *_ = ascent_perturbation(
        [torch.ones(2, 3), torch.ones(4)],
        grads,
        membership,
        torch.ones(3),
        form=form,
        foreach=foreach,
    )
    assert [e.tolist() for e in eps] == [torch.zeros(2, 3).tolist(), torch.zeros(4).tolist()]


@FORMS
@BOTH
def test_zero_radius(form, foreach):
    weights, grads, membership, radii = problem(6)
    eps, *_ = ascent_perturbation(weights, grads, membership, radii * 0, form=form, foreach=foreach)
    assert not any(e.any() for e in eps)


@FORMS
@BOTH
@pytest.mark.parametrize('seed', range(5))
def test_bfloat16_weights(seed, form, foreach):
    """Norms are taken in float32; only the rest rounds."""
    args = problem(seed, dtype=torch.bfloat16)
    actual, *_ = ascent_perturbation(*args, form=form, foreach=foreach)
    assert {a.dtype for a in actual} == {torch.bfloat16}
    exact = [[t.float() for t in tensors] for tensors in args[:2]]
    expected, *_ = ascent_perturbation(*exact, *args[2:], form=form, foreach=False)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.float(), e, rtol=0.04, atol=1e-3)


@BOTH
def test_norm_of_many_bfloat16_values(foreach):
    """Summed in bfloat16, 4,096 ones would stick at 256."""
    eps, *_ = ascent_perturbation(
        [torch.zeros(64, 64, dtype=torch.bfloat16)] * 2,
        [torch.ones(64, 64, dtype=torch.bfloat16)] * 2,
        [0, Rows(0, torch.ones(64, dtype=torch.long))],
        torch.tensor([64.0, 128.0]),
        form='sam',
        foreach=foreach,
    )
    assert eps[0].unique().tolist() == [1.0]
    assert eps[1].unique().tolist() == [2.0]


@BOTH
def test_no_parameters(foreach):
    assert ascent_perturbation([], [], [], torch.ones(1), foreach=foreach).perturbation == []


def test_unknown_form():
    with pytest.raises(ValueError, match=r"'asam'.*got 'gsam'"):
        ascent_perturbation([], [], [], torch.ones(1), form='gsam')


def test_mismatched_lengths():
    with pytest.raises(ValueError, match='1, 2, 1'):
        ascent_perturbation([torch.ones(1)], [torch.ones(1)] * 2, [0], torch.ones(1))
