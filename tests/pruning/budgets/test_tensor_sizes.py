import torch

from adasap_det.pruning import find_channel_groups, prune_channels
from adasap_det.pruning.budgets.tensor_sizes import TensorSizes, size_with
from adasap_det.pruning.graph.tracing import example_image

from ...helpers.toy import GroupedNet, ToyDetector, randomize

SIZE = (6, 6)


def test_predicted_sizes_match_pruned_model():
    for kind in (ToyDetector, GroupedNet):
        model = randomize(kind())
        groups = find_channel_groups(model, example_image(SIZE)).groups
        sizes = TensorSizes(model, groups)
        kept = {g.name: torch.arange(g.size).view(g.parts, -1)[:, :2].flatten() for g in groups}
        counts = {name: len(channels) for name, channels in kept.items()}
        foretold = {
            name: tuple(size_with(dim, counts) for dim in sizes.dims(name))
            for name, _ in model.named_parameters()
        }
        prune_channels(model, groups, kept)
        assert foretold == {name: tuple(p.shape) for name, p in model.named_parameters()}


def test_tensors_outside_groups_are_constant():
    model = ToyDetector()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    (rows, columns, *_) = TensorSizes(model, groups).dims('out.weight')
    assert rows == (5, ())
    assert columns[0] == 0
    assert {per_channel for _, per_channel in columns[1]} == {1.0}
