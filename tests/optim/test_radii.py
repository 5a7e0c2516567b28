"""Balls and radii by hand: three channels with importance 0, 1 and 4, radii 0.9, 0.7 and 0.1."""

import math

import pytest
import torch
from torch import nn

from adasap_det.optim.perturbation import Rows
from adasap_det.optim.radii import (
    RADIUS_RATIO,
    RISE,
    UNIFORM_RISE,
    ChannelRadii,
    RadiusOptions,
)

SCORES = torch.tensor([0, 1, 4])  # whole numbers are scores as well
RADII = [0.9, 0.7, 0.1]


@pytest.fixture
def weights():
    return [nn.Parameter(torch.zeros(4, 2)), nn.Parameter(torch.zeros(5))]


def options(**changes):
    given = dict.fromkeys(
        ('rise', 'uniform_rise', 'radius_ratio', 'rho_min', 'rho_max', 'rho'), None
    )
    return RadiusOptions.resolve(**{'form': 'asam', 'radius_map': 'linear', **given, **changes})


ABSOLUTE = options(rho_min=0.1, rho_max=0.9, rho=0.5)


def with_rows(weights, chosen=ABSOLUTE):
    found = ChannelRadii(chosen)
    found.set_rows({weights[0]: Rows(0, torch.tensor([2, -1, 0, 1]))})
    return found


@pytest.fixture
def channels(weights):
    return with_rows(weights)


def test_ungrouped_rows_and_parameters_share_ball_0(channels, weights):
    channels.set_scores([SCORES])
    grouped, alone = channels.balls(weights, by_channel=True).membership
    assert grouped.dim == 0 and grouped.ball.tolist() == [3, 0, 1, 2]
    assert alone == 0
    radii = channels.padded(weights, ungrouped=True)
    torch.testing.assert_close(radii, torch.tensor([0.5, *RADII]))
    assert channels.padded(weights, ungrouped=False)[0] == 0


def test_all_parameters_share_one_ball_in_the_uniform_stage(channels, weights):
    assert channels.balls(weights, by_channel=False).membership == [0, 0]
    assert channels.single(weights).tolist() == [0.5]


def test_balls_are_built_once_for_the_same_parameters(channels, weights):
    first = channels.balls(weights, by_channel=True)
    assert channels.balls(weights, by_channel=True) is first
    assert channels.balls(weights[:1], by_channel=True) is not first
    channels.set_rows({weights[1]: Rows(0, torch.arange(5))})
    assert channels.balls(weights, by_channel=True) is not first


@pytest.mark.parametrize(('inverse', 'expected'), [(False, RADII), (True, [0.1, 0.3, 0.9])])
def test_radii_decrease_or_increase_with_importance(channels, inverse, expected):
    radii = channels.set_scores([SCORES[:1], SCORES[1:]], inverse=inverse)
    torch.testing.assert_close(radii, torch.tensor(expected))
    assert torch.equal(channels.scores, SCORES)


def test_new_rows_reset_importance(channels, weights):
    channels.set_scores([SCORES])
    channels.set_rows({weights[1]: Rows(0, torch.arange(5))})
    assert channels.scores is None
    assert list(channels.rows) == [id(weights[1])]
    with pytest.raises(RuntimeError, match=r"dict\(type='PruningHook'"):
        channels.padded(weights, ungrouped=True)


def test_with_a_rise_ungrouped_filters_are_perturbed_like_as_many_important_channels(weights):
    channels = with_rows(weights, options(rise=0.5, radius_ratio=10.0))
    channels.set_scores([SCORES])
    others = [nn.Parameter(torch.zeros(9, 2)), nn.Parameter(torch.zeros(7, 1, 3))]
    radii = channels.padded([*weights, *others], ungrouped=True)
    assert float(radii[0]) == pytest.approx(0.1 * math.sqrt(9 + 7))
    assert radii[1:].tolist() == pytest.approx([1.0, 0.775, 0.1])


def test_percentiles_of_the_radii_are_logged(weights):
    channels = ChannelRadii(options(radius_map='rank', rho_min=0.0, rho_max=1.0))
    channels.set_scores([torch.arange(101.0)])
    found = channels.logged(torch.tensor(2.0), by_channel=True)
    assert {k: round(float(v), 6) for k, v in found.items()} == {
        'rho_p01': 0.02, 'rho_p50': 1.0, 'rho_p99': 1.98,
    }  # fmt: skip
    assert {
        k: float(v) for k, v in channels.logged(torch.tensor(2.0), by_channel=False).items()
    } == {'rho': 4.0}


# ------------------------------------------------------------------ options


def test_by_default_the_rise_sets_the_size():
    found = options()
    assert (found.rise, found.uniform_rise) == (RISE, UNIFORM_RISE)
    assert found.rho_max / found.rho_min == pytest.approx(RADIUS_RATIO)


def test_any_absolute_radius_turns_the_rise_off():
    for name in ('rho_min', 'rho_max', 'rho'):
        found = options(**{name: 0.005})
        assert found.rise is None and found.uniform_rise is None
        assert getattr(found, name) == 0.005


@pytest.mark.parametrize(
    ('form', 'radii'), [('asam', (0.01, 2, 2)), ('sam', (0.00025, 0.05, 0.05))]
)
def test_absolute_radii_not_given_are_those_of_the_papers(form, radii):
    assert options(form=form, rho=radii[2]) == RadiusOptions(*radii, 'linear', None, None)
    assert options(form=form, rho_max=1e-5).rho_min == 1e-5


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(rise=0.3, rho=1.0), 'rise and rho: .* remove one of the two'),
        (dict(radius_ratio=5.0, rho_min=0.1, rho_max=1.0), 'radius_ratio and rho_min, rho_max'),
        (dict(rise=-0.1), r'rise must be finite and >= 0, got -0\.1'),
        (dict(uniform_rise=math.inf), 'uniform_rise must be finite and >= 0, got inf'),
        (dict(radius_ratio=0.5), r'radius_ratio .* at least 1, got 0\.5'),
        (dict(radius_map='min-max'), r'optim_wrapper\.radius_map must be one of'),
    ],
)
def test_contradictory_or_impossible_options(given, message):
    with pytest.raises(ValueError, match=message):
        options(**given)


@pytest.mark.parametrize(
    ('given', 'by_channel', 'ungrouped', 'perturbs'),
    [
        (dict(rise=0.0), True, True, False),
        (dict(rise=0.0), False, True, True),
        (dict(uniform_rise=0.0), False, True, False),
        (dict(rho=0.0), False, True, False),
        (dict(rho=0.0), True, True, True),
        (dict(rho=0.0), True, False, True),
        (dict(rho_max=0.0), True, False, False),
        (dict(rho_max=0.0), True, True, True),
    ],
)
def test_whether_anything_is_perturbed(given, by_channel, ungrouped, perturbs):
    assert options(**given).perturbs(by_channel=by_channel, ungrouped=ungrouped) is perturbs
