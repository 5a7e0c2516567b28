import pytest
import torch

from adasap_det.optim.remembered_gradient import (
    PREVIOUS,
    remember_gradients,
    remembered_gradients,
)


def stepped(optimizer, weight, *grads):
    for grad in grads:
        weight.grad = torch.tensor(grad)
        optimizer.step()
    return optimizer


@pytest.fixture
def weight():
    return torch.nn.Parameter(torch.ones(2))


def test_momentum_of_sgd_is_scaled_to_one_gradient(weight):
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.75)
    stepped(optimizer, weight, [1.0, 0.0], [1.0, 4.0])
    (found,) = remembered_gradients(optimizer, [weight], ascent='momentum')
    torch.testing.assert_close(found, 0.25 * torch.tensor([1.75, 4.0]))


@pytest.mark.parametrize('make', [torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam])
def test_momentum_of_adam_is_its_first_moment(weight, make):
    optimizer = make([weight], lr=0.1, betas=(0.5, 0.9), weight_decay=0.0)
    stepped(optimizer, weight, [1.0, 0.0], [1.0, 4.0])
    (found,) = remembered_gradients(optimizer, [weight], ascent='momentum')
    torch.testing.assert_close(found, torch.tensor([0.75, 2.0]))


def test_previous_gradient_is_kept_after_the_step(weight):
    optimizer = torch.optim.SGD([weight], lr=0.1)
    optimizer.register_step_post_hook(remember_gradients)
    stepped(optimizer, weight, [1.0, 2.0], [3.0, 4.0])
    weight.grad.zero_()  # a copy is kept
    (found,) = remembered_gradients(optimizer, [weight], ascent='previous')
    assert found.tolist() == [3.0, 4.0]
    found.zero_()
    assert optimizer.state[weight][PREVIOUS].tolist() == [3.0, 4.0]


@pytest.mark.parametrize('ascent', ['momentum', 'previous'])
def test_nothing_is_known_before_the_first_step(weight, ascent):
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    assert remembered_gradients(optimizer, [weight], ascent=ascent) == [None]
    assert not optimizer.state


def test_an_optimizer_without_momentum_is_an_error(weight):
    optimizer = stepped(torch.optim.RMSprop([weight]), weight, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"RMSprop keeps none.*ascent='previous'"):
        remembered_gradients(optimizer, [weight], ascent='momentum')
