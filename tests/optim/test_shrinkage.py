import torch
from torch import nn

from adasap_det.optim.perturbation import Rows
from adasap_det.optim.shrinkage import ChannelShrinkage


def test_chosen_rows_fall_in_a_straight_line_to_zero_and_others_stay():
    weight = nn.Parameter(torch.arange(1.0, 13.0).view(3, 4))
    before = weight.detach().clone()
    rows = {
        weight: [
            Rows(0, torch.tensor([-1, 0, 1])),  # computes channels 0 and 1
            Rows(1, torch.tensor([2, -1, 3, 1])),  # reads channels 2, 3 and 1
        ]
    }
    shrinkage = ChannelShrinkage(rows, torch.tensor([True, False, False, True]))
    for left in (4, 3, 2, 1):
        shrinkage.pull(left)
        share = (left - 1) / 4
        rate = torch.ones(3, 4)
        rate[1] = share
        rate[:, 2] = share
        torch.testing.assert_close(weight.detach(), before * rate)
    assert not weight[1].any() and not weight[:, 2].any()


def test_weights_are_zero_at_the_end_whatever_is_added_meanwhile():
    weight = nn.Parameter(torch.ones(2, 1))
    shrinkage = ChannelShrinkage(
        {weight: [Rows(0, torch.tensor([0, 1]))]}, torch.tensor([True, False])
    )
    for left in range(5, 0, -1):
        with torch.no_grad():
            weight.add_(10.0)
        shrinkage.pull(left)
    assert weight[0] == 0
    assert weight[1] == 51
