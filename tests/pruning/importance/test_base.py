import pytest
import torch

from adasap_det.pruning import Importance, MagnitudeImportance, find_channel_groups
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.registry import IMPORTANCES

from ...helpers.toy import GroupedNet, randomize

SIZE = (6, 6)


@pytest.mark.parametrize(('normalize', 'scale'), [('mean', torch.mean), ('max', torch.max)])
def test_normalized_within_each_group(toy, normalize, scale):
    raw = toy(MagnitudeImportance(normalize='none'), 'inner')
    actual = toy(MagnitudeImportance(normalize=normalize), 'inner')
    assert torch.allclose(actual, raw / scale(raw))


def test_grouped_convolution_parts_have_equal_scores():
    model = randomize(GroupedNet())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    for group, score in zip(groups, MagnitudeImportance().scores(groups, model), strict=True):
        assert group.parts == 2
        first, second = score.chunk(2)
        assert torch.equal(first, second)
        assert len(set(first.tolist())) == first.numel()


def test_custom_importance(toy):
    @IMPORTANCES.register_module(force=True)
    class FirstImportance(Importance):
        """Channels matter less the later they come."""

        def channel_scores(self, group, tensors):
            return torch.arange(group.size, 0, -1)

    importance = IMPORTANCES.get('FirstImportance')(normalize='max')
    assert torch.allclose(toy(importance, 'inner'), torch.arange(6, 0, -1) / 6)


def test_invalid_options_are_an_error():
    with pytest.raises(ValueError, match=r"importance\.normalize.*'sum'"):
        MagnitudeImportance(normalize='sum')
    with pytest.raises(ValueError, match=r'importance\.p must be positive, got 0'):
        MagnitudeImportance(p=0)


def test_lamp_counts_parts_pruned_together_once():
    model = randomize(GroupedNet())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    raw = MagnitudeImportance(normalize='none').scores(groups, model)
    lamp = MagnitudeImportance(normalize='lamp').scores(groups, model)
    for group, before, after in zip(groups, raw, lamp, strict=True):
        one = before[: group.size // group.parts]
        expected = one / torch.stack([one[one >= s].sum() for s in one])
        assert torch.allclose(after, expected.repeat(group.parts))
