import pytest
import torch
from torch import nn
from torchvision.ops import roi_align

from adasap_det.sharpness import top_eigenvalue
from adasap_det.sharpness.hessian import hessian_product


def with_eigenvalues(*values, seed=0):
    """A full symmetric matrix of these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(values), len(values), generator=generator, dtype=torch.double)
    q = torch.linalg.qr(noise).Q
    return q @ torch.diag(torch.tensor(values, dtype=torch.double)) @ q.T


def quadratics(*matrices):
    """Parameters of two shapes, and the losses ``x^T A x / 2`` of them, one a matrix."""
    parameters = [torch.ones(2, 1, dtype=torch.double), torch.ones(3, dtype=torch.double)]
    for parameter in parameters:
        parameter.requires_grad_()

    def losses():
        x = torch.cat([p.flatten() for p in parameters])
        return [x @ matrix @ x / 2 for matrix in matrices]

    return losses, parameters


@pytest.mark.parametrize(
    ('values', 'largest'),
    [
        ((5, 2, 1, 0.5, -1), 5),
        ((-8, 3, 1, 0.5, -1), 3),  # the largest in magnitude is negative
        ((4, -4, 1, 0.5, 0), 4),  # equal magnitudes: plain power iteration does not converge
        ((-1, -2, -3, -4, -5), -1),
        ((2, 2, 2, 2, 2), 2),
        ((-2, -2, -2, -2, -2), -2),
    ],
)
def test_largest_eigenvalue_of_a_quadratic(values, largest):
    losses, parameters = quadratics(with_eigenvalues(*values))
    found = top_eigenvalue(losses, parameters, iterations=200, tolerance=1e-6)
    assert found.converged
    assert found.value == pytest.approx(largest, rel=1e-6)
    assert all(parameter.grad is None for parameter in parameters)


def test_batches_are_averaged():
    one, two = with_eigenvalues(9, 1, 0, 0, 0), with_eigenvalues(0, 0, 0, 2, 5, seed=1)
    losses, parameters = quadratics(one, two)
    found = top_eigenvalue(losses, parameters, iterations=300, tolerance=1e-6)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh((one + two) / 2)[-1]))
    vector = torch.arange(5, dtype=torch.double)
    product = hessian_product(losses, parameters, vector)
    torch.testing.assert_close(product, (one + two) / 2 @ vector)


def test_stops_at_tolerance_and_reports_nonconvergence():
    losses, parameters = quadratics(with_eigenvalues(5, 4.9, 1, 0.5, -1))
    rough = top_eigenvalue(losses, parameters, iterations=500, tolerance=0.1)
    fine = top_eigenvalue(losses, parameters, iterations=500, tolerance=1e-5)
    short = top_eigenvalue(losses, parameters, iterations=3, tolerance=1e-5)
    assert rough.converged and fine.converged and not short.converged
    assert rough.iterations < fine.iterations
    assert short.iterations == 6  # three, and three more of H + s I
    assert short.value < fine.value <= 5 + 1e-9


def test_converged_value_is_near_an_eigenvalue():
    """Where eigenvalues are +-1 the quotient stands still from the first step on, anywhere."""
    losses, parameters = quadratics(with_eigenvalues(1, 1, -1, -1, -1))
    found = top_eigenvalue(losses, parameters, iterations=1)
    assert not found.converged
    assert top_eigenvalue(losses, parameters, iterations=3).value == pytest.approx(1)


def small_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU6(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3),
    ).double()  # fmt: skip
    network(torch.randn(8, 2, 6, 6, dtype=torch.double))  # statistics of its own
    return network.eval()


def test_matches_eigenvalue_of_full_hessian():
    network = small_network()
    batches = [
        (torch.randn(4, 2, 6, 6, dtype=torch.double), torch.tensor([0, 1, 2, 0])) for _ in range(2)
    ]
    parameters = list(network.parameters())
    shapes = {name: p.shape for name, p in network.named_parameters()}

    def loss_of(flat):
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        weights = {n: x.view(s) for (n, s), x in zip(shapes.items(), pieces, strict=True)}
        return sum(
            nn.functional.cross_entropy(torch.func.functional_call(network, weights, (x,)), y)
            for x, y in batches
        ) / len(batches)

    flat = torch.cat([p.detach().flatten() for p in parameters])
    eigenvalues = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss_of, flat))
    assert eigenvalues[0] < -1e-3  # not convex, for a stronger test

    def losses():
        for x, y in batches:
            yield nn.functional.cross_entropy(network(x), y)

    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = top_eigenvalue(losses, parameters, iterations=500, tolerance=1e-6)
    assert found.converged
    assert found.value == pytest.approx(float(eigenvalues[-1]), rel=1e-6)
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    assert top_eigenvalue(losses, parameters, iterations=5, seed=3) == top_eigenvalue(
        losses, parameters, iterations=5, seed=3
    )


def test_linear_or_unused_parameters_have_zero_curvature():
    x, y, unused = (torch.ones(2, requires_grad=True) for _ in range(3))
    flat = top_eigenvalue(lambda: [x.sum()], [x, unused])
    assert (flat.value, flat.iterations, flat.converged) == (0, 1, True)
    mixed = top_eigenvalue(lambda: [3 * x.square().sum() + y.sum()], [unused, y, x], iterations=9)
    assert mixed.value == pytest.approx(6)


class _Square(torch.autograd.Function):
    """As MMCV's compiled operators are written."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def pooled(x):
    return roi_align(x.view(1, 1, 4, 4), torch.tensor([[0, 0, 0, 3.0, 3.0]]), 2)


def bags(x):
    return nn.functional.embedding_bag(torch.tensor([[0, 1], [2, 3]]), x.view(4, 4), mode='max')


def alignment(x):
    length = torch.tensor([4])
    logits = x.view(4, 1, 4).log_softmax(-1)
    return nn.functional.ctc_loss(logits, torch.tensor([[1]]), length, torch.tensor([1]))


@pytest.mark.parametrize(
    ('operator', 'reason'),
    [
        (_Square.apply, 'once_differentiable'),
        (pooled, 'double backwards on roi_align not supported'),
        # PyTorch's own two ways to say it, in operators that lack it in 2.15 too.
        (bags, '_embedding_bag_(dense_)?backward'),  # the name depends on the version
        (alignment, '_ctc_loss_backward'),
    ],
)
def test_operator_without_second_derivative_is_an_error(operator, reason):
    x = torch.linspace(1, 2, 16, requires_grad=True)
    with pytest.raises(ValueError, match=rf'no second derivative.*{reason}.*--no-eigenvalue'):
        # The other term has a curvature, so that not all of it is missing.
        top_eigenvalue(lambda: [operator(x).square().sum() + x.pow(3).sum()], [x])


class _Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError('no memory left')


class _BreaksSecond(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return _Broken.apply(gradient)


def test_other_errors_are_not_replaced():
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match='no memory left'):
        top_eigenvalue(lambda: [_BreaksSecond.apply(x).square().sum()], [x])


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'iterations': 0}, 'iterations must be at least 1, got 0'),
        ({'tolerance': 0.0}, 'tolerance must be positive, got 0.0'),
        ({'tolerance': float('nan')}, 'tolerance must be positive'),
        ({'parameters': []}, 'all of them are frozen'),
        ({'losses': list}, 'no batches'),
    ],
)
def test_invalid_arguments_are_an_error(options, words):
    losses, parameters = quadratics(with_eigenvalues(1, 2, 3, 4, 5))
    given = {'losses': losses, 'parameters': parameters} | options
    with pytest.raises(ValueError, match=words):
        top_eigenvalue(**given)


def test_nonfinite_loss_is_an_error():
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(ValueError, match='not finite'):
        top_eigenvalue(lambda: [x.log().sum()], [x])
