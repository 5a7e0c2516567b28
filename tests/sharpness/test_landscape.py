import pytest
import torch
from torch import nn

from adasap_det.sharpness import (
    filter_normalized_direction,
    line,
    plane,
    trained_parameters,
)

from ..helpers.toy import ToyDetector, randomize, toy_batch

STEPS = (-1.0, -0.25, 0.0, 0.5)


class Quadratic(nn.Module):
    """``x^T A x / 2`` over two parameters of different shape."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn(6, 6, generator=generator, dtype=torch.double)
        self.matrix = draw + draw.T
        self.left = nn.Parameter(torch.randn(2, 2, generator=generator, dtype=torch.double))
        self.right = nn.Parameter(torch.randn(2, generator=generator, dtype=torch.double))

    def at(self, x: torch.Tensor) -> float:
        return float(x @ self.matrix @ x / 2)

    def weights(self) -> torch.Tensor:
        return torch.cat([self.left.detach().flatten(), self.right.detach()])

    def loss(self) -> float:
        return self.at(self.weights())


def arbitrary(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator).double() for size in ((2, 2), (2,))]


def flat(direction):
    return torch.cat([d.flatten() for d in direction])


def test_line_of_a_quadratic():
    model = Quadratic()
    w, directions = model.weights(), [arbitrary(1), arbitrary(2)]
    found = line(model, Quadratic.loss, directions, STEPS)
    expected = [[model.at(w + a * flat(d)) for a in STEPS] for d in directions]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double))


def test_plane_of_a_quadratic_has_rows_along_first_direction():
    model = Quadratic()
    w, d, e = model.weights(), arbitrary(1), arbitrary(2)
    found = plane(model, Quadratic.loss, d, e, STEPS)
    expected = [[model.at(w + a * flat(d) + b * flat(e)) for b in STEPS] for a in STEPS]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double))
    assert found[STEPS.index(0), STEPS.index(0)] == model.loss()


def training_loss(model):
    """A measurement that moves the statistics of batch norm, as it should not."""
    model.train()
    losses = model(**toy_batch(0), mode='loss')
    return losses['loss_fit'].item()


@pytest.mark.parametrize('fails', [False, True])
def test_weights_and_buffers_are_restored_bitwise(fails):
    model = randomize(ToyDetector(dropout=0.0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []

    def measure(model):
        seen.append(model.stem.weight.detach().clone())
        loss = training_loss(model)
        assert not torch.equal(model.stem_bn.running_mean, before['stem_bn.running_mean'])
        if fails and len(seen) == 3:
            raise OSError('gone')
        return loss

    generator = torch.Generator().manual_seed(0)
    d = filter_normalized_direction(trained_parameters(model), generator)
    if fails:
        with pytest.raises(OSError, match='gone'):
            line(model, measure, [d], (0.3, 0.6, 0.9))
    else:
        line(model, measure, [d], (0.3, 0.6, 0.9))
    assert len(seen) == 3
    torch.testing.assert_close(seen[2], before['stem.weight'] + 0.9 * d[0])
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_direction_of_another_network_is_an_error():
    model = Quadratic()
    before = model.weights()
    measured = []
    for wrong in (arbitrary(1)[:1], [*reversed(arbitrary(1))]):
        with pytest.raises(ValueError, match='does not fit the 2 trained parameters'):
            line(model, measured.append, [arbitrary(1), wrong], STEPS)
        with pytest.raises(ValueError, match='does not fit the 2 trained parameters'):
            plane(model, measured.append, arbitrary(1), wrong, STEPS)
    assert not measured
    assert torch.equal(model.weights(), before)
