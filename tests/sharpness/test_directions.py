import torch

from adasap_det.sharpness import filter_normalized_direction, trained_parameters

from ..helpers.toy import ToyDetector, randomize


def draw(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return filter_normalized_direction(trained_parameters(model), generator)


def test_direction_filters_have_the_norm_of_weight_filters():
    model = randomize(ToyDetector())
    direction = draw(model)
    lengths = 0
    for weight, d in zip(model.parameters(), direction, strict=True):
        assert d.shape == weight.shape
        if weight.dim() > 1:
            lengths += len(weight)
            expected = weight.detach().flatten(1).norm(dim=1)
            torch.testing.assert_close(d.flatten(1).norm(dim=1), expected)
            assert not torch.allclose(d, weight)
    assert lengths == 8 + 6 + 8 + 8 + 6 + 4 + 5  # the filters of all seven convolutions


def test_one_dimensional_parameters_have_zero_direction():
    model = randomize(ToyDetector())
    for (name, weight), d in zip(model.named_parameters(), draw(model), strict=True):
        assert (d == 0).all() == (weight.dim() == 1), name


def test_zero_filter_has_zero_direction():
    weight = torch.ones(3, 4)
    weight[1] = 0
    (d,) = filter_normalized_direction([weight], torch.Generator().manual_seed(0))
    assert d[1].tolist() == [0] * 4
    torch.testing.assert_close(d[[0, 2]].norm(dim=1), torch.full((2,), 2.0))


def test_direction_depends_only_on_the_seed():
    model = randomize(ToyDetector())
    first, again, other = draw(model), draw(model), draw(model, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_frozen_weights_have_no_direction():
    model = ToyDetector()
    model.stem.weight.requires_grad_(False)
    names = dict(model.named_parameters())
    del names['stem.weight']
    trained = trained_parameters(model)
    assert [id(p) for p in trained] == [id(p) for p in names.values()]
