import torch

from adasap_det.pruning.graph.channel_group import ChannelGroup, TensorSlice, without_channels


def piece(name, dim, positions, channels):
    return TensorSlice(name, dim, torch.tensor(positions), torch.tensor(channels))


def test_without_channels_renumbers():
    """Channel 1 of 4 goes, and with it the second filter and the eighth of ten joint channels."""
    group = ChannelGroup(
        name='right',
        size=4,
        own=(
            piece('right.weight', 0, [0, 1, 2, 3], [0, 1, 2, 3]),
            piece('joint_bn.bias', 0, [6, 7, 8, 9], [0, 1, 2, 3]),
        ),
        consumers=(piece('out.weight', 1, [6, 7, 8, 9], [0, 1, 2, 3]),),
        layers=('right',),
    )
    # The joint channel 0, of another group, is pruned in the same step.
    joint = torch.tensor([-1, 0, 1, 2, 3, 4, 5, -1, 6, 7])
    moved = {
        ('right.weight', 0): torch.tensor([0, -1, 1, 2]),
        ('joint_bn.bias', 0): joint,
        ('out.weight', 1): joint,
    }
    after = without_channels(group, torch.tensor([0, 2, 3]), moved)
    assert after.size == 3
    filters, bias = after.own
    (reader,) = after.consumers
    assert filters.positions.tolist() == filters.channels.tolist() == [0, 1, 2]
    for moved_piece in (bias, reader):
        assert moved_piece.positions.tolist() == [5, 6, 7]
        assert moved_piece.channels.tolist() == [0, 1, 2]


def test_segments_are_the_channel_subsets_of_tensors():
    group = ChannelGroup(
        name='joint',
        size=4,
        own=(piece('a.weight', 0, [0, 1], [0, 1]), piece('b.weight', 0, [0, 1], [2, 3])),
        consumers=(piece('out.weight', 1, [0, 1, 2, 3], [0, 1, 2, 3]),),
        layers=('a', 'b'),
    )
    assert [s.tolist() for s in group.segments] == [[0, 1], [2, 3]]
    assert len(group.slices) == 3
