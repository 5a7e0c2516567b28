import pytest
import torch

from adasap_det.pruning import FPGMImportance


@pytest.mark.parametrize(('p', 'between'), [(2, (5, 8, 5)), (1, (7, 8, 7))])
def test_by_hand(toy, p, between):
    """Filters at three points, twice each: the score is a sum of distances, not a length."""
    points = [(0.0, 0.0), (3.0, 4.0), (0.0, 8.0)]
    with torch.no_grad():
        toy.model.inner.weight.zero_()
        for row in range(6):  # each point twice
            x, y = points[row % 3]
            toy.model.inner.weight[row, 0, 0, 0] = x
            toy.model.inner.weight[row, 5, 2, 1] = y
    a, b, c = between  # first to second, first to third, second to third
    sums = torch.tensor([a + b, a + c, b + c], dtype=torch.float32) * 2
    actual = toy(FPGMImportance(p=p, normalize='none'), 'inner')
    assert torch.allclose(actual, sums.repeat(2), atol=1e-4)


def test_averages_over_residual_and_depthwise_layers(toy):
    def distances(weight):
        rows = weight.detach().flatten(1)
        return (rows[:, None] - rows[None]).square().sum(-1).sqrt().sum(1)

    layers = (toy.model.stem, toy.model.back, toy.model.depth)
    expected = sum(distances(layer.weight) for layer in layers) / 3
    assert torch.allclose(toy(FPGMImportance(normalize='none'), 'stem'), expected, atol=1e-4)


def test_concatenated_layers_are_compared_separately(toy):
    rows = toy.model.right.weight.detach().flatten(1)
    expected = (rows[:, None] - rows[None]).norm(dim=-1).sum(1)
    assert torch.allclose(toy(FPGMImportance(normalize='none'), 'right'), expected, atol=1e-4)


def test_invalid_order_is_an_error():
    with pytest.raises(ValueError, match=r'importance\.p must be positive, got 0'):
        FPGMImportance(p=0)
