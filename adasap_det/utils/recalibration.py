"""Re-estimate the running statistics of batch norm from training batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .modules import eval_mode, unwrap
from .random_state import RandomState, same_randomness

Forward = Callable[[nn.Module, Any], object]


def recalibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    max_batches: int | None = None,
    forward: Forward | None = None,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> int:
    """Re-estimate the running statistics of batch norm from training batches.

    To be called after pruning and before an evaluation without training in between: the running
    statistics are still those of the larger network. For any model, in any mode::

        pruner.prune()
        recalibrate(model, loader, max_batches=40, forward=lambda model, batch: model(batch[0]))

    Mean and variance become those of all batches together: the average of the batches' means, and
    the variance about it. A layer that is called several times in a batch counts each call alike,
    and so does a smaller batch. Under ``torch.distributed`` the batches of all ranks count; every
    rank must call this function.

    Inside, batch norm is in training mode and every other module in evaluation mode, dropout
    among them, and gradients are off. Weights, modes, momentum and random state of the training
    are as before. Layers that no batch reaches keep their statistics, and so do all of them if an
    error is raised.

    Args:
        model: The model, with or without its DDP wrapper.
        batches: Training batches, augmented as in training, such as a data loader.
        max_batches: Number of batches to read, on each rank; by default all.
        forward: Called with the model (without wrapper) and a batch; by default ``model(batch)``.
        layers: Names of the batch norm layers; by default all that have running statistics.
        seed: Seed of the random numbers that are drawn while ``batches`` is read.

    Returns:
        Number of batches read on this rank; 0, and none read, if there is no such layer.

    Raises:
        ValueError: If the model has no layer of a name given, or there are no batches.

    Source: PreciseBN of Wu and Johnson 2021 (arXiv 2105.07576).
    """
    model = unwrap(model)
    found = running_norms(model)
    unknown = sorted(set(layers or ()) - set(found))
    if unknown:
        raise ValueError(f'layers: the model has no batch norm with running statistics {unknown}')
    norms = {name: found[name] for name in (found if layers is None else layers)}
    if not norms:
        return 0
    call = forward or (lambda model, batch: model(batch))
    count = 0
    randomness = RandomState.seeded(seed)
    with torch.no_grad(), same_randomness(randomness), _observed(model, norms) as statistics:
        for batch in islice(batches, max_batches):  # a loader draws when its iterator is made
            call(model, batch)
            count += 1
    if not count:
        raise ValueError('there are no batches to re-estimate the batch norm statistics from')
    _sum_over_ranks([each.sums for each in statistics.values()])
    for name, norm in norms.items():
        statistics[name].write(norm)
    return count


def running_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norm layers that have running statistics, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


class _Statistics:
    """Sums over the calls of one layer.

    Attributes:
        sums: Shape ``(4, C)``: calls, values, means and mean squares.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        assert norm.running_mean is not None
        self.sums = norm.running_mean.new_zeros(4, norm.num_features, dtype=torch.float64)

    def observe(self, norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Add one call; a forward pre-hook."""
        values = args[0].detach()
        dims = [dim for dim in range(values.dim()) if dim != 1]
        variance, mean = torch.var_mean(_at_least_float32(values), dims, correction=0)
        mean = mean.double()
        self.sums[0] += 1
        self.sums[1] += values[:, 0].numel()
        self.sums[2] += mean
        self.sums[3] += variance.double() + mean.square()

    def write(self, norm: _BatchNorm) -> None:
        """Set the layer's running statistics, unless it has not been called."""
        calls, values, means, squares = self.sums
        if not calls[0]:
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean = means / calls
        variance = (squares / calls - mean.square()).clamp(min=0)
        # Running variances are unbiased.
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance * values / (values - 1))


@contextmanager
def _observed(model: nn.Module, norms: dict[str, _BatchNorm]) -> Iterator[dict[str, _Statistics]]:
    """Collect what the layers compute inside, in training mode, and leave their buffers alone."""
    statistics = {name: _Statistics(norm) for name, norm in norms.items()}
    tracked = [(norm, norm.track_running_stats) for norm in norms.values()]
    handles = []
    with eval_mode(model):
        try:
            for name, norm in norms.items():
                norm.training, norm.track_running_stats = True, False
                handles.append(norm.register_forward_pre_hook(statistics[name].observe))
            yield statistics
        finally:
            for handle in handles:
                handle.remove()
            for norm, track in tracked:
                norm.track_running_stats = track


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _sum_over_ranks(tensors: Sequence[Tensor]) -> None:
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    joint = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(joint)
    for tensor, part in zip(tensors, joint.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
