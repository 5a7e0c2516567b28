"""Balls and radii by hand: three channels with importance 0, 1 and 4, radii 0.9, 0.7 and 0.1."""

import pytest
import torch
from torch import nn

from adasap_det.optim.perturbation import Rows
from adasap_det.optim.radii import ChannelRadii

SCORES = torch.tensor([0, 1, 4])  # whole numbers are scores as well
RADII = [0.9, 0.7, 0.1]


@pytest.fixture
def weights():
    return [nn.Parameter(torch.zeros(4, 2)), nn.Parameter(torch.zeros(5))]


@pytest.fixture
def channels(weights):
    found = ChannelRadii()
    found.set_rows({weights[0]: Rows(0, torch.tensor([2, -1, 0, 1]))})
    return found


def test_ungrouped_rows_and_parameters_share_ball_0(channels, weights):
    channels.set_scores(SCORES, rho_min=0.1, rho_max=0.9)
    (grouped, alone), radii = channels.membership(weights, rest=0.5)
    assert grouped.dim == 0 and grouped.ball.tolist() == [3, 0, 1, 2]
    assert alone == 0
    torch.testing.assert_close(radii, torch.tensor([0.5, *RADII]))


@pytest.mark.parametrize(('inverse', 'expected'), [(False, RADII), (True, [0.1, 0.3, 0.9])])
def test_radii_decrease_or_increase_with_importance(channels, inverse, expected):
    radii = channels.set_scores(SCORES, rho_min=0.1, rho_max=0.9, inverse=inverse)
    torch.testing.assert_close(radii, torch.tensor(expected))
    assert channels.scores is SCORES


def test_new_rows_reset_importance(channels, weights):
    channels.set_scores(SCORES, rho_min=0.1, rho_max=0.9)
    channels.set_rows({weights[1]: Rows(0, torch.arange(5))})
    assert channels.scores is None
    assert list(channels.rows) == [id(weights[1])]
    with pytest.raises(RuntimeError, match=r"dict\(type='PruningHook'"):
        channels.membership(weights, rest=0.5)
