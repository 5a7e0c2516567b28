import pytest
import torch
from torch import nn

from adasap_det.pruning import FPGMImportance, LAMPImportance, MagnitudeImportance

from ...helpers.attention import HEADS, MODULES, WIDTH, build, groups_of, torch_attention


@pytest.mark.parametrize('p', [1, 2])
def test_magnitude_averages_over_coupled_layers(toy, p):
    """Stem, the residual branch's last layer and the depthwise convolution share a score."""
    model = toy.model
    expected = sum(
        layer.weight.detach().flatten(1).norm(p=p, dim=1)
        for layer in (model.stem, model.back, model.depth)
    )
    actual = toy(MagnitudeImportance(p=p, normalize='none'), 'stem')
    assert torch.allclose(actual, expected / 3)


def test_magnitude_of_concatenated_layers_is_separate(toy):
    importance = MagnitudeImportance(normalize='none')
    for layer in ('left', 'right'):
        weight = getattr(toy.model, layer).weight.detach()
        assert torch.allclose(toy(importance, layer), weight.flatten(1).norm(dim=1))


def test_lamp_by_hand(toy):
    """Squared norms 4, 1, 9, 1, 16, 25 of 'inner': each through the sum of those no smaller."""
    with torch.no_grad():
        toy.model.inner.weight.zero_()
        toy.model.inner.weight[:, 3, 1, 1] = torch.tensor([2.0, 1.0, -3.0, 1.0, 4.0, 5.0])
    expected = torch.tensor([4 / 54, 1 / 55, 9 / 50, 1 / 56, 16 / 41, 1.0])
    assert torch.allclose(toy(LAMPImportance(), 'inner'), expected)


def test_lamp_averages_squared_norms_over_coupled_layers(toy):
    squares = sum(
        layer.weight.detach().flatten(1).square().sum(1) / 3
        for layer in (toy.model.stem, toy.model.back, toy.model.depth)
    )
    expected = squares / torch.stack([squares[squares >= s].sum() for s in squares])
    assert torch.allclose(toy(LAMPImportance(), 'stem'), expected)


def test_magnitude_of_a_head_averages_over_its_rows_of_query_key_and_value():
    model = nn.ModuleDict({'a': torch_attention()})
    rows = model['a'].in_proj_weight.detach().norm(dim=1)
    (score,) = MagnitudeImportance(normalize='none').scores(groups_of(model), model)
    torch.testing.assert_close(score, rows.view(3, HEADS, WIDTH).mean((0, 2)))


@pytest.mark.filterwarnings("ignore:You'd better set embed_dims:UserWarning")
@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('kind', [MagnitudeImportance, LAMPImportance, FPGMImportance])
def test_every_attention_has_scores_of_its_heads(name, kind):
    model, _ = build(name)
    (score,) = kind().scores(groups_of(model), model)
    assert score.shape == (HEADS,)
    assert (score > 0).all()
    assert score.unique().numel() > 1
