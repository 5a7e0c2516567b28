"""Check channel groups by value: permuted and pruned copies of the model must agree.

A group is right if its channels can be put in another order, in all of its slices, without any
change of the model's outputs, before and after half of them are pruned. All parameters and buffers
are random in the copies: fresh norms and branches that start at zero would hide errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adasap_det.checkpoint.structure import named_tensors
from adasap_det.pruning.surgery import prune_channels
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.modules import eval_mode
from adasap_det.utils.random_state import RandomState, same_randomness

from .channel_group import ChannelGroup
from .training_pass import train_forward

TOLERANCE = 1e-12
"""Largest difference in float64, relative to the largest output."""

TOLERANCE_FLOAT32 = 1e-5
"""The same where the model itself computes a part in float32, whatever its parameters are."""

FIRST_ORDER = 1e-9
"""Smallest change of the outputs, relative to the sum of its parts, that is one."""

NO_EFFECT = 'its channels do not change the outputs, so the group cannot be checked'

Forward = Callable[[nn.Module, Tensor], Any]
Test = Callable[[Sequence[ChannelGroup]], 'str | None']


class ValueCheck:
    """Tests of channel groups on randomised copies of a model.

    Args:
        model: The model, which is not changed.
        example_inputs: Shape ``(1, ...)``.
        forward: Runs a model on inputs, up to top-k and NMS.
        train_forward: Runs a model in training mode on a batch of two; given where layers run
            in training only, which are compared there.

    Attributes:
        permutation_error: Largest difference of an output, relative to its scale, that the
            channels of groups in another order made where they passed.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Tensor,
        *,
        forward: Forward,
        train_forward: Forward | None = None,
    ) -> None:
        self._forward = forward
        self._train_forward = train_forward
        self._model = model
        self._random = torch.Generator().manual_seed(0)
        self._state = RandomState.seeded(0)  # of every pass, so that they can be compared
        self._copy = without_dropout(randomized(copy_unwrapped(model))).double()
        self._tolerance = TOLERANCE
        self.permutation_error = 0.0
        self._inputs, self._expected = self._smallest(example_inputs.double())
        copied = sharing_copy(model)
        with torch.no_grad(), eval_mode(copied):
            self._shapes = [t.shape for t in tensors(forward(copied, example_inputs))]
        self._full_inputs = example_inputs
        self._orders: dict[str, Tensor] = {}

    def failures(self, groups: Sequence[ChannelGroup]) -> dict[str, str]:
        """Reason by name of each group that fails a test."""
        found: dict[str, str] = {}
        groups = [group for group in groups if group.size > group.parts]
        for group in groups:
            self._orders[group.name] = random_order(group, self._random)
        if groups:
            print_log(f'Checking {len(groups)} channel groups by value', logger='current')
        for test in (self._permuted, self._pruned, self._trained):
            for group, reason in failing(groups, test):
                found[group.name] = reason
            groups = [group for group in groups if group.name not in found]
        for group in self._without_effect(groups):
            found[group.name] = NO_EFFECT
        return found

    # ------------------------------------------------------------------ tests

    def _permuted(self, groups: Sequence[ChannelGroup]) -> str | None:
        outputs = self._outputs(permuted(self._copy, groups, self._orders))
        if isinstance(outputs, str):
            return f'with its channels in another order the model fails: {outputs}'
        error = _difference(outputs, self._expected)
        if error > self._tolerance:
            return 'its channels in another order change the outputs: an operator is not followed'
        self.permutation_error = max(self.permutation_error, error)
        return None

    def _without_effect(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """The negative control: groups whose own slices can be permuted alone, unseen.

        To first order, for all groups in one backward pass; exactly where that finds no change.
        """
        if not groups:
            return []
        copied = sharing_copy(self._copy)
        for parameter in copied.parameters():
            parameter.requires_grad_(True)
        generator = torch.Generator().manual_seed(1)
        with torch.enable_grad():
            total = torch.zeros((), dtype=torch.float64)
            for t in self._run(copied, self._inputs):
                if t.requires_grad:
                    total = total + (t * torch.rand(t.shape, generator=generator).to(t)).sum()
            if total.requires_grad:
                total.backward()
        by_name = named_tensors(copied)
        weak = []
        for group in groups:
            changes = []
            orders = _orders_of_tensors(copied, [group], self._orders, own_only=True)
            for name, dims in orders.items():
                weight, gradient = by_name[name].detach(), by_name[name].grad
                if gradient is not None:
                    moved = weight
                    for dim, order in dims.items():
                        moved = moved.index_select(dim, order.to(moved.device))
                    changes.append((gradient * (moved - weight)).flatten())
            change = torch.cat(changes) if changes else torch.zeros(1)
            if change.sum().abs() <= FIRST_ORDER * change.abs().sum():
                weak.append(group)
        return [group for group in weak if self._unchanged_without_consumers(group)]

    def _unchanged_without_consumers(self, group: ChannelGroup) -> bool:
        outputs = self._outputs(permuted(self._copy, [group], self._orders, own_only=True))
        return not isinstance(outputs, str) and self._equal(outputs, self._expected)

    def _pruned(self, groups: Sequence[ChannelGroup]) -> str | None:
        kept = {group.name: random_half(group, self._random) for group in groups}
        moved = {
            group.name: torch.isin(self._orders[group.name], kept[group.name]).nonzero().flatten()
            for group in groups
        }
        results = []
        for start, channels in (
            (sharing_copy(self._copy), kept),
            (permuted(self._copy, groups, self._orders), moved),
        ):
            try:
                prune_channels(start, groups, channels)
            except Exception as error:  # whatever it is, the group cannot be pruned
                return f'half of its channels cannot be removed: {_first_line(error)}'
            outputs = self._outputs(start)
            if isinstance(outputs, str):
                return f'with half of its channels the model fails: {outputs}'
            results.append(outputs)
        if [t.shape for t in results[0]] != [t.shape for t in self._expected]:
            return 'it changes the shape of an output of the model'
        if not self._equal(*results):
            return 'half of its channels in another order change the outputs'
        return None

    def _trained(self, groups: Sequence[ChannelGroup]) -> str | None:
        """Half of the channels at the full size, in evaluation and in training mode."""
        copied = sharing_copy(self._model)
        kept = {group.name: random_half(group, self._random) for group in groups}
        prune_channels(copied, groups, kept)
        with torch.no_grad(), same_randomness(self._state):
            if self._inputs.shape != self._full_inputs.shape:
                try:
                    with eval_mode(copied):
                        outputs = tensors(self._forward(copied, self._full_inputs))
                except Exception as error:  # whatever the model raises is the reason
                    return f'with half of its channels the model fails: {_first_line(error)}'
                if [t.shape for t in outputs] != self._shapes:
                    return 'it changes the shape of an output of the model'
            try:
                train_forward(copied, self._full_inputs)
            except Exception as error:
                if self._trains:
                    return f'with half of its channels training fails: {_first_line(error)}'
        return None

    @cached_property
    def _trains(self) -> bool:
        """Whether the dense model can be run in training mode without more than an image."""
        try:
            with torch.no_grad(), same_randomness(self._state):
                train_forward(copy_unwrapped(self._model), self._full_inputs)
        except Exception:
            return False
        return True

    # ------------------------------------------------------------------ forward passes

    def _equal(self, actual: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
        return _difference(actual, expected) <= self._tolerance

    def _outputs(self, copied: nn.Module) -> list[Tensor] | str:
        try:
            with torch.no_grad():
                return self._run(copied, self._inputs)
        except Exception as error:  # whatever the model raises is the reason
            return _first_line(error)

    def _run(self, copied: nn.Module, inputs: Tensor) -> list[Tensor]:
        with eval_mode(copied), same_randomness(self._state):
            outputs = tensors(self._forward(copied, inputs))
            if self._train_forward is not None:
                outputs += tensors(self._train_forward(copied, inputs))
        return outputs

    def _smallest(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The smallest images that the model takes, to save time, and the outputs for them."""
        for divisor in (4, 2):
            size = [n // divisor // 32 * 32 for n in inputs.shape[2:]]
            if inputs.dim() == 4 and min(size) >= 64:
                smaller = nn.functional.interpolate(inputs, size)
                try:
                    return smaller, self._run_copy(smaller)
                except Exception:
                    continue
        return inputs, self._run_copy(inputs)

    def _run_copy(self, inputs: Tensor) -> list[Tensor]:
        with torch.no_grad(), _Float32() as found:
            outputs = self._run(sharing_copy(self._copy), inputs)
        self._tolerance = TOLERANCE_FLOAT32 if found.any else TOLERANCE
        return outputs


class _Float32(TorchDispatchMode):
    """Notes whether anything was computed in float32."""

    any = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.pointwise in func.tags or func._schema.name == 'aten::_to_copy':
            self.any |= any(t.dtype == torch.float32 and t.numel() > 1 for t in tensors(result))
        return result


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy whose parameters have the same memory: they are replaced there, never written to."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()
    }
    return copy_unwrapped(model, memo=memo)


def failing(groups: Sequence[ChannelGroup], test: Test) -> list[tuple[ChannelGroup, str]]:
    """The groups that fail a test and the reasons, by bisection: all of them are tested at once."""
    if not groups:
        return []
    reason = test(groups)
    if reason is None:
        return []
    if len(groups) == 1:
        return [(groups[0], reason)]
    middle = len(groups) // 2
    found = failing(groups[:middle], test) + failing(groups[middle:], test)
    if not found:  # only together
        return [(groups[-1], reason), *failing(groups[:-1], test)]
    return found


def without_dropout(model: nn.Module) -> nn.Module:
    """Set all rates of dropout and stochastic depth to zero, in place."""
    for module in model.modules():
        for name in ('p', 'drop_prob'):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every floating parameter and buffer random values of usual size, in place."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    def around_one(tensor: Tensor) -> Tensor:
        return (torch.rand(tensor.shape, generator=generator) + 0.5).to(tensor)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                fan_in = math.prod(parameter.shape[1:])
                parameter.copy_(normal(parameter) * math.sqrt(2 / fan_in))
            elif name.endswith('bias'):
                parameter.copy_(normal(parameter) * 0.1)
            else:
                parameter.copy_(around_one(parameter))
        for name, buffer in model.named_buffers():
            if not buffer.is_floating_point():
                continue
            if name.endswith('running_var'):
                buffer.copy_(around_one(buffer))
            elif name.endswith('running_mean'):
                buffer.copy_(normal(buffer) * 0.1)
            else:
                buffer.mul_(around_one(buffer))
    return model


def random_order(group: ChannelGroup, generator: torch.Generator) -> Tensor:
    """A random order of a group's channels, the same in each part, that no segment leaves."""
    per_part = group.size // group.parts
    order = torch.arange(per_part)
    for members in _classes(group):
        shuffled = members[torch.randperm(len(members), generator=generator)]
        if len(members) > 1 and torch.equal(shuffled, members):
            shuffled = members.roll(1)
        order[members] = shuffled
    offsets = torch.arange(group.parts) * per_part
    return (order + offsets[:, None]).flatten()


def random_half(group: ChannelGroup, generator: torch.Generator) -> Tensor:
    """A random half of a group's channels, ascending, at least one of each segment."""
    per_part = group.size // group.parts
    kept = [
        members[torch.randperm(len(members), generator=generator)[: max(1, len(members) // 2)]]
        for members in _classes(group)
    ]
    offsets = torch.arange(group.parts) * per_part
    return (torch.cat(kept) + offsets[:, None]).flatten().sort().values


def _classes(group: ChannelGroup) -> list[Tensor]:
    """Channels of the first part, by the segments that they and their like belong to."""
    per_part = group.size // group.parts
    member = torch.zeros(len(group.segments) + 1, group.size, dtype=torch.long)
    for row, segment in zip(member, group.segments, strict=False):
        row[segment] = 1
    columns = member.view(-1, group.parts, per_part).flatten(0, 1).T
    _, inverse = columns.unique(dim=0, return_inverse=True)
    return [(inverse == i).nonzero().flatten() for i in range(int(inverse.max()) + 1)]


def permuted(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    orders: dict[str, Tensor],
    *,
    own_only: bool = False,
) -> nn.Module:
    """A copy of the model with the groups' channels in another order."""
    copied = sharing_copy(model)
    by_name = named_tensors(copied)
    for name, dims in _orders_of_tensors(copied, groups, orders, own_only).items():
        for dim, index in dims.items():
            by_name[name].data = by_name[name].data.index_select(
                dim, index.to(by_name[name].device)
            )
    return copied


def _orders_of_tensors(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    orders: dict[str, Tensor],
    own_only: bool,
) -> dict[str, dict[int, Tensor]]:
    by_name = named_tensors(model)
    found: dict[str, dict[int, Tensor]] = {}
    for group in groups:
        order = orders[group.name]
        for piece in group.own if own_only else group.slices:
            dims = found.setdefault(piece.name, {})
            if piece.dim not in dims:
                dims[piece.dim] = torch.arange(by_name[piece.name].shape[piece.dim])
            by_channel = torch.argsort(piece.channels, stable=True)
            places = piece.positions[by_channel]
            channels = piece.channels[by_channel]
            start = torch.searchsorted(channels, channels)
            source = torch.searchsorted(channels, order[channels])
            dims[piece.dim][places] = places[source + torch.arange(len(places)) - start]
    return found


def _difference(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of tensors, relative to the largest value of each; inf for NaN."""
    if [a.shape for a in actual] != [b.shape for b in expected]:
        return math.inf
    found = 0.0
    for a, b in zip(actual, expected, strict=True):
        if a.numel():
            difference, scale = float((a - b).abs().max()), float(b.abs().max())
            if difference > 0:
                found = max(found, difference / scale if scale else math.inf)
            elif difference != 0:
                return math.inf
    return found


def tensors(results: Any) -> list[Tensor]:
    return [
        leaf
        for leaf in tree_leaves(results)
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
