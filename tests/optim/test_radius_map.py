"""Radii by hand: rho_min 0.1 and rho_max 0.9."""

import math

import pytest
import torch

from adasap_det.optim import adaptive_radius

MAPS = pytest.mark.parametrize('radius_map', ['rank', 'linear', 'layer'])


def radii(*groups, **options):
    scores = [torch.tensor(group) for group in groups]
    return adaptive_radius(scores, **{'rho_min': 0.1, 'rho_max': 0.9} | options)


def test_radii_fall_evenly_with_the_rank_over_all_groups():
    found = radii([1.0, 300.0, 2.0], [0.5, 50.0], radius_map='rank')
    torch.testing.assert_close(found, torch.tensor([0.7, 0.1, 0.5, 0.9, 0.3]))


def test_rank_is_the_default():
    assert radii([1.0, 2.0, 900.0]).tolist() == pytest.approx([0.9, 0.5, 0.1])


def test_radii_differ_by_rank_where_the_linear_map_gives_nearly_all_channels_one():
    scores = torch.rand(1000, generator=torch.Generator().manual_seed(0)).pow(8)
    spread = {
        name: adaptive_radius([scores], rho_min=0.1, rho_max=0.9, radius_map=name)
        for name in ('rank', 'linear')
    }
    assert (spread['linear'] > 0.8).float().mean() > 0.7
    histogram = torch.histc(spread['rank'], bins=8, min=0.1, max=0.9)
    torch.testing.assert_close(histogram, torch.full((8,), 125.0), rtol=0, atol=1)


def test_equal_scores_share_the_mean_of_their_ranks():
    found = radii([0.0, 0.0, 0.0], [5.0, 7.0])  # ranks 0, 1, 2 of 0 to 4
    assert found.tolist() == pytest.approx([0.7, 0.7, 0.7, 0.3, 0.1])


def test_linear_radius_falls_from_rho_max_to_rho_min():
    found = radii([1.0, 3.0], [2.0, 5.0], radius_map='linear')
    torch.testing.assert_close(found, torch.tensor([0.9, 0.5, 0.7, 0.1]))


def test_layer_radius_is_relative_to_the_channels_of_the_group():
    found = radii([1.0, 3.0, 2.0], [10.0, 500.0], radius_map='layer')
    torch.testing.assert_close(found, torch.tensor([0.9, 0.1, 0.5, 0.9, 0.1]))


def test_a_group_of_one_channel_gets_the_middle_of_its_layer():
    assert radii([1.0, 2.0], [9.0], radius_map='layer').tolist() == pytest.approx([0.9, 0.1, 0.5])


@MAPS
def test_inverse_radius_rises_with_importance(radius_map):
    upright = radii([1.0, 3.0, 2.0, 5.0], radius_map=radius_map)
    inverse = radii([1.0, 3.0, 2.0, 5.0], radius_map=radius_map, inverse=True)
    torch.testing.assert_close(inverse, 1.0 - upright)


@MAPS
@pytest.mark.parametrize('inverse', [False, True])
def test_equal_scores_get_the_middle_radius(radius_map, inverse):
    found = radii([7.0, 7.0, 7.0], radius_map=radius_map, inverse=inverse)
    assert found.tolist() == pytest.approx([0.5] * 3)


@MAPS
def test_a_single_channel_gets_the_middle_radius(radius_map):
    assert radii([7.0], radius_map=radius_map).tolist() == pytest.approx([0.5])


@MAPS
def test_radius_does_not_depend_on_the_unit_of_the_scores(radius_map):
    scores = torch.rand(20)
    torch.testing.assert_close(
        adaptive_radius([scores * 1e-20], rho_min=0.01, rho_max=2.0, radius_map=radius_map),
        adaptive_radius([scores], rho_min=0.01, rho_max=2.0, radius_map=radius_map),
    )


def test_integer_scores():
    found = radii([0, 1, 4], radius_map='linear', rho_min=0.0, rho_max=1.0)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.75, 0.0]))


@MAPS
def test_no_scores(radius_map):
    assert radii(radius_map=radius_map).shape == (0,)
    assert adaptive_radius(
        [torch.empty(0)], rho_min=0.1, rho_max=1.0, radius_map=radius_map
    ).shape == (0,)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_nonfinite_scores(bad):
    with pytest.raises(ValueError, match='scores must be finite'):
        radii([1.0, bad])


def test_unknown_map():
    with pytest.raises(ValueError, match=r"radius_map must be one of .*'rank'.* got 'min-max'"):
        radii([1.0], radius_map='min-max')


@pytest.mark.parametrize(
    ('rho_min', 'rho_max', 'message'),
    [
        (2.0, 1.0, r'rho_min=2\.0 exceeds rho_max=1\.0'),
        (-0.1, 1.0, r'rho_min=-0\.1'),
        (0.1, math.inf, r'rho_max=inf'),
        (math.nan, 1.0, r'rho_min=nan'),
        (0.1, math.nan, r'rho_max=nan'),
    ],
)
def test_invalid_radii(rho_min, rho_max, message):
    with pytest.raises(ValueError, match=message):
        radii([1.0, 1.0], rho_min=rho_min, rho_max=rho_max)
