import torch
from torch import nn

from adasap_det.hooks.channel_rows import channel_rows
from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.graph.channel_group import ChannelGroup, TensorSlice
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.training_runs import TinyNet


def piece(name, positions, channels, dim=0):
    return TensorSlice(name, dim, torch.tensor(positions), torch.tensor(channels))


def test_channels_are_counted_over_all_groups_and_rows_of_none_have_minus_one():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    groups = [
        # Two channels, each computed by two rows; of the norm's rows only the first two.
        ChannelGroup(
            name='0',
            size=2,
            own=(
                piece('0.weight', [0, 1, 2, 3], [0, 1, 0, 1]),
                piece('1.weight', [1, 0], [0, 1]),
                piece('1.running_mean', [0, 1], [0, 1]),  # a buffer is no parameter
            ),
            consumers=(piece('2.weight', [0, 1, 2, 3], [0, 1, 0, 1], dim=1),),
            layers=('0',),
        ),
        ChannelGroup(
            name='2', size=2, own=(piece('2.bias', [1, 0], [0, 1]),), consumers=(), layers=('2',)
        ),
    ]
    rows = {
        name: rows.ball.tolist()
        for parameter, rows in channel_rows(model, groups).items()
        for name, known in model.named_parameters()
        if known is parameter
    }
    assert rows == {'0.weight': [0, 1, 0, 1], '1.weight': [1, 0, -1, -1], '2.bias': [3, 2]}


def test_channel_rows_number_channels_over_all_groups():
    model = TinyNet(width=4)
    groups = find_channel_groups(model, example_image((6, 6))).groups
    rows = {name: None for name, _ in model.named_parameters()}
    by_parameter = channel_rows(model, groups)
    for name, parameter in model.named_parameters():
        if parameter in by_parameter:
            rows[name] = by_parameter[parameter].ball.tolist()
    sizes = {g.name: g.size for g in groups}
    assert sum(sizes.values()) == 8
    assert rows['inner.weight'] == rows['inner_bn.weight'] == rows['inner_bn.bias']
    assert rows['stem.weight'] == rows['back.weight'] == rows['stem.bias'] == rows['bn.bias']
    assert sorted(rows['inner.weight'] + rows['stem.weight']) == list(range(8))
    assert rows['out.weight'] is None
