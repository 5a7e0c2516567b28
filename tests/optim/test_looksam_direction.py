import math

import pytest
import torch

from adasap_det.optim.looksam import add_direction, adversarial_direction


def test_the_part_orthogonal_to_the_plain_gradient_by_hand():
    # g = (3, 4), g_s = (2, 0) over two tensors: g_s.g / |g|^2 = 6 / 25, so
    # g_v = (2 - 18/25, -24/25) = (32/25, -24/25), of length 8/5.
    plain = [torch.tensor([3.0]), torch.tensor([[4.0]])]
    perturbed = [torch.tensor([2.0]), torch.tensor([[0.0]])]
    first, second = adversarial_direction(plain, perturbed)
    torch.testing.assert_close(first, torch.tensor([0.8]))
    torch.testing.assert_close(second, torch.tensor([[-0.6]]))
    assert first is plain[0]  # no memory of its own


@pytest.mark.parametrize('scale', [1e-3, 1e4])
def test_neither_scale_matters(scale):
    generator = torch.Generator().manual_seed(0)
    plain = [torch.randn(5, generator=generator) for _ in range(3)]
    perturbed = [torch.randn(5, generator=generator) for _ in range(3)]
    reference = adversarial_direction([g.clone() for g in plain], perturbed)
    for one, other in [(scale, 1.0), (1.0, scale)]:
        found = adversarial_direction([one * g for g in plain], [other * g for g in perturbed])
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('plain', 'perturbed'),
    [
        ([1.0, 2.0], [0.0, 0.0]),  # no gradient at the perturbed point
        ([0.1, 0.3], [0.2, 0.6]),  # parallel: what is left is rounding
        ([math.nan, 1.0], [1.0, 2.0]),
        ([1.0, 1.0], [math.inf, 2.0]),
    ],
)
def test_without_a_direction_it_is_zero(plain, perturbed):
    (found,) = adversarial_direction([torch.tensor(plain)], [torch.tensor(perturbed)])
    assert found.tolist() == [0.0, 0.0]


def test_without_a_plain_gradient_all_of_the_other_is_new():
    (found,) = adversarial_direction([torch.zeros(2)], [torch.tensor([0.0, -3.0])])
    assert found.tolist() == [0.0, -1.0]


def test_a_share_of_the_gradients_length_is_added():
    grads = [torch.tensor([3.0]), torch.tensor([4.0])]
    add_direction(grads, [torch.tensor([0.0]), torch.tensor([1.0])], alpha=0.5)
    assert [g.item() for g in grads] == [3.0, 6.5]


def test_nothing_to_add_to():
    add_direction([], [], alpha=0.5)
    assert adversarial_direction([], []) == []


def test_lengths_of_half_precision_do_not_overflow():
    grads = [torch.full((4,), 400.0, dtype=torch.float16)]  # squares: 160,000 each
    direction = [torch.tensor([1.0, 0, 0, 0], dtype=torch.float16)]
    add_direction(grads, direction, alpha=0.5)
    assert grads[0].tolist() == [800.0, 400.0, 400.0, 400.0]
