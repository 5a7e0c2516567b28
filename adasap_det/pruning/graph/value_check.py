"""Check channel groups by value: permuted and pruned copies of the model must agree.

A group is right if its channels can be put in another order, in all of its slices, without any
change of the model's outputs, before and after half of them are pruned, and if removing channels
is the same as setting their slices to zero, unless an operator combines the channels with each
other. All parameters and buffers are random in the copies: fresh norms and branches that start at
zero would hide errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from traceback import walk_tb
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
from .operator_rules import COUNTING
from .training_pass import train_forward

TOLERANCE = 1e-12
"""Largest difference in float64, relative to the largest output."""

TOLERANCE_FLOAT32 = 1e-5
"""The same where the model itself computes a part in float32, whatever its parameters are."""

FIRST_ORDER = 1e-5
"""Smallest change of the outputs in float32, relative to the sum of its parts, that is one."""

CLEAR = 1e-2
"""Change of the outputs, relative to the largest, that is no rounding of float32."""

TRIES = 10
"""Random choices of channels, at most, until the order of those chosen has changed."""

SHARES = (1 / 4, 1 / 2, 5 / 8, 3 / 4)
"""Sizes of the images that are tried, relative to the example."""

TINY = 1e-100
"""Factor that stands for zero: weight norm would divide zero by zero."""

NO_EFFECT = 'its channels do not change the outputs, so the group cannot be checked'

UNLIKE_ZEROS = 'removing half of its channels is not the same as setting them to zero'

Forward = Callable[[nn.Module, Tensor], Any]
Test = Callable[[Sequence[ChannelGroup]], None]


class CheckError(Exception):
    """A test has failed.

    Args:
        reason: Why the channels cannot be pruned.
        running: Names of the modules that ran when an error was raised, the innermost first.
    """

    def __init__(self, reason: str, running: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.running = running


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
        approximate: Reason by name of each group that has passed and whose channels make another
            difference when they are zero than when they are removed.
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
        self._full_inputs = example_inputs
        with torch.no_grad(), eval_mode(copied := sharing_copy(model)):
            self._shapes = [t.shape for t in tensors(forward(copied, example_inputs))]
        smallest, shapes = self._smallest()
        self._inputs = smallest.double()
        with torch.no_grad(), _Float32() as found:
            self._expected = self._run(sharing_copy(self._copy), self._inputs)
        self._tolerance = TOLERANCE_FLOAT32 if found.any else TOLERANCE
        if [t.shape for t in self._expected] != shapes:
            raise ValueError(
                'the model returns outputs of other shapes when it is called again with the same '
                'inputs; make them depend on nothing else'
            )
        self._orders: dict[str, Tensor] = {}
        self.permutation_error = 0.0
        self.approximate: dict[str, str] = {}

    def failures(self, groups: Sequence[ChannelGroup], *, alone: bool = True) -> dict[str, str]:
        """Reason by name of each group that fails a test.

        Args:
            groups: The groups, tested together.
            alone: Whether to run the negative control too, which is of each group alone.
        """
        found: dict[str, str] = {}
        groups = [group for group in groups if group.size > group.parts]
        for group in groups:
            self._orders[group.name] = random_order(group, self._random)
        for stage, test in self._tests.items():
            if groups:
                _log(groups, stage)
            for group, reason in failing(groups, test):
                found[group.name] = reason
            groups = [group for group in groups if group.name not in found]
        if groups:
            found |= self._failing_by_half(groups)
            groups = [group for group in groups if group.name not in found]
        if alone and groups:
            _log(groups, 'negative control')
            for group in self._without_effect(groups):
                found[group.name] = NO_EFFECT
        return found

    @property
    def _tests(self) -> dict[str, Test]:
        """From the cheapest to the most expensive: one that fails is repeated by bisection."""
        return {
            'half of the channels, in evaluation mode': self._evaluated,
            'half of the channels, in training mode': self._trained,
            'in another order': self._permuted,
        }

    # ------------------------------------------------------------------ tests

    def _evaluated(self, groups: Sequence[ChannelGroup]) -> None:
        """Half of the channels at the full size."""
        copied = self._halved(groups)
        with (
            _reason('with half of its channels the model fails', copied),
            torch.no_grad(),
            eval_mode(copied),
            same_randomness(self._state),
        ):
            outputs = tensors(self._forward(copied, self._full_inputs))
        if [t.shape for t in outputs] != self._shapes:
            raise CheckError('it changes the shape of an output of the model')

    def _trained(self, groups: Sequence[ChannelGroup]) -> None:
        copied = self._halved(groups)
        try:
            with (
                _reason('with half of its channels training fails', copied),
                torch.no_grad(),
                same_randomness(self._state),
            ):
                train_forward(copied, self._full_inputs)
        except CheckError:
            if self._trains:
                raise

    def _permuted(self, groups: Sequence[ChannelGroup]) -> None:
        copied = permuted(self._copy, groups, self._orders)
        with _reason('with its channels in another order the model fails', copied):
            outputs = self._outputs(copied)
        error = difference(outputs, self._expected)
        if error > self._tolerance:
            raise CheckError(
                'its channels in another order change the outputs: an operator is not followed'
            )
        self.permutation_error = max(self.permutation_error, error)

    def _failing_by_half(self, groups: Sequence[ChannelGroup]) -> dict[str, str]:
        """Reason by name of each group that fails with half of its channels, by value.

        Channels that are removed must leave what channels that are zero do. Groups for which that
        cannot hold are noted, and tested with half of their channels in another order instead.
        """
        found: dict[str, str] = {}
        for group in groups:
            self.approximate.pop(group.name, None)
            if group.mixed_by in COUNTING and group.width == 1:
                self._note_approximate(group)
        exact = [group for group in groups if group.name not in self.approximate]
        if exact:
            _log(exact, 'half of the channels removed or zero')
        for group, reason in self._unlike_zeros(exact):
            if group.mixed_by and reason == UNLIKE_ZEROS:
                self._note_approximate(group)
            else:
                found[group.name] = reason
        groups = [group for group in groups if group.name not in found]
        if any(group.name in self.approximate for group in groups):
            _log(groups, 'half of the channels in another order')
            for group, reason in failing(groups, self._pruned):
                found[group.name] = reason
                self.approximate.pop(group.name, None)
        return found

    def _note_approximate(self, group: ChannelGroup) -> None:
        self.approximate[group.name] = f'{group.mixed_by} combines its channels'

    def _unlike_zeros(self, groups: Sequence[ChannelGroup]) -> list[tuple[ChannelGroup, str]]:
        """All at once, which passes as a rule; else first those that must pass."""
        if not failing_together(groups, self._removed):
            return []
        plain = [group for group in groups if not group.mixed_by]
        mixed = [group for group in groups if group.mixed_by]
        return failing(plain, self._removed) + failing(mixed, self._removed)

    def _removed(self, groups: Sequence[ChannelGroup]) -> None:
        kept = {group.name: uneven_half(group, self._random) for group in groups}
        copied = sharing_copy(self._copy)
        prune_channels(copied, groups, kept)
        with _reason('with half of its channels the model fails', copied):
            outputs = self._outputs(copied)
        self._check_shapes(outputs)
        if difference(outputs, self._outputs(masked(self._copy, groups, kept))) > self._tolerance:
            raise CheckError(UNLIKE_ZEROS)

    def _pruned(self, groups: Sequence[ChannelGroup]) -> None:
        kept, moved = {}, {}
        for group in groups:
            kept[group.name], moved[group.name] = self._kept_in_both(group)
        results = []
        for copied, channels in (
            (sharing_copy(self._copy), kept),
            (permuted(self._copy, groups, self._orders), moved),
        ):
            prune_channels(copied, groups, channels)
            with _reason('with half of its channels the model fails', copied):
                results.append(self._outputs(copied))
        self._check_shapes(results[0])
        if difference(results[1], results[0]) > self._tolerance:
            raise CheckError('half of its channels in another order change the outputs')

    def _kept_in_both(self, group: ChannelGroup) -> tuple[Tensor, Tensor]:
        """The same random channels, before and after they are put in another order."""
        order = self._orders[group.name]
        for _ in range(TRIES):
            kept = uneven_half(group, self._random)
            moved = torch.isin(order, kept).nonzero().flatten()
            if not torch.equal(order[moved], kept):  # else all of these are in their old order
                break
        return kept, moved

    def _check_shapes(self, outputs: Sequence[Tensor]) -> None:
        if [t.shape for t in outputs] != [t.shape for t in self._expected]:
            raise CheckError('it changes the shape of an output of the model')

    def _halved(self, groups: Sequence[ChannelGroup]) -> nn.Module:
        """A copy of the model with a random half of every group."""
        copied = sharing_copy(self._model)
        kept = {group.name: random_half(group, self._random) for group in groups}
        with _reason('half of its channels cannot be removed', copied):
            prune_channels(copied, groups, kept)
        return copied

    @cached_property
    def _trains(self) -> bool:
        """Whether the dense model can be run in training mode without more than an image."""
        try:
            with torch.no_grad(), same_randomness(self._state):
                train_forward(copy_unwrapped(self._model), self._full_inputs)
        except Exception:
            return False
        return True

    def _without_effect(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """The negative control: groups whose own slices can be permuted alone, unseen.

        To first order and in float32, for all groups in one backward pass; exactly where that
        finds no change.
        """
        copied = self._single()
        for parameter in copied.parameters():
            parameter.requires_grad_(True)
        generator = torch.Generator().manual_seed(1)
        with torch.enable_grad():
            total = torch.zeros(())
            outputs = self._run(copied, self._inputs.float())
            for t in outputs:
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
            if not change.sum().abs() > FIRST_ORDER * change.abs().sum():  # or not finite
                weak.append(group)
        outputs = [t.detach() for t in outputs]
        return [group for group in weak if not self._has_effect(group, outputs)]

    def _has_effect(self, group: ChannelGroup, expected: Sequence[Tensor]) -> bool:
        """Whether the outputs change with its own slices: clearly in float32, or else in float64.

        ``expected`` are the outputs in float32.
        """

        def own_permuted(copied: nn.Module) -> nn.Module:
            return permuted(copied, [group], self._orders, own_only=True)

        try:
            with torch.no_grad():
                outputs = self._run(own_permuted(self._single()), self._inputs.float())
            if difference(outputs, expected) > CLEAR:
                return True
            outputs = self._outputs(own_permuted(self._copy))
        except Exception:  # an error is a change
            return True
        return difference(outputs, self._expected) > self._tolerance

    # ------------------------------------------------------------------ forward passes

    def _outputs(self, copied: nn.Module) -> list[Tensor]:
        with torch.no_grad():
            return self._run(copied, self._inputs)

    def _run(self, copied: nn.Module, inputs: Tensor) -> list[Tensor]:
        with eval_mode(copied), same_randomness(self._state):
            outputs = tensors(self._forward(copied, inputs))
            if self._train_forward is not None:
                outputs += tensors(self._train_forward(copied, inputs))
        return outputs

    def _smallest(self) -> tuple[Tensor, list[torch.Size]]:
        """The smallest images that the model takes, to save time, and its outputs' shapes.

        Only channels matter here, which are the same for all sizes.
        """

        def shapes(inputs: Tensor) -> list[torch.Size]:
            with torch.no_grad():
                return [t.shape for t in self._run(self._single(), inputs.float())]

        full = self._full_inputs
        for share in SHARES if full.dim() == 4 else ():
            size = [int(n * share) // 32 * 32 for n in full.shape[2:]]
            if min(size) >= 64:
                smaller = nn.functional.interpolate(full, size)
                try:
                    return smaller, shapes(smaller)
                except Exception:
                    continue
        return full, shapes(full)

    def _single(self) -> nn.Module:
        """A copy of the randomised model in float32, which is a few times as fast."""
        return sharing_copy(self._copy).float()


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
    """The groups that fail a test and the reasons: all at once, then fewer and fewer of them.

    First those of the innermost module that has raised an error and holds some of them, then
    halves.
    """
    if not groups:
        return []
    try:
        test(groups)
    except CheckError as error:
        if len(groups) == 1:
            return [(groups[0], error.reason)]
        suspected = [i < len(groups) // 2 for i in range(len(groups))]
        for module in error.running:
            touched = [_touches(group, module) for group in groups]
            if any(touched) and not all(touched):
                suspected = touched
                break
        some = [group for group, each in zip(groups, suspected, strict=True) if each]
        others = [group for group, each in zip(groups, suspected, strict=True) if not each]
        found = failing(some, test) + failing(others, test)
        if not found:  # only together
            return [(some[-1], error.reason), *failing(some[:-1] + others, test)]
        return found
    return []


def failing_together(groups: Sequence[ChannelGroup], test: Test) -> bool:
    """Whether groups fail a test that runs once, of all of them."""
    if not groups:
        return False
    try:
        test(groups)
    except CheckError:
        return True
    return False


def _log(groups: Sequence[ChannelGroup], stage: str) -> None:
    print_log(f'Checking {len(groups)} channel groups: {stage}', logger='current')


def _touches(group: ChannelGroup, module: str) -> bool:
    return any(piece.name.startswith(f'{module}.') for piece in group.slices)


@contextmanager
def _reason(reason: str, model: nn.Module) -> Iterator[None]:
    """Turn an error, whatever the model raises, into a :class:`CheckError`."""
    try:
        yield
    except Exception as error:
        modules = {id(module): name for name, module in model.named_modules()}
        running = [
            modules[id(frame.f_locals.get('self'))]
            for frame, _ in walk_tb(error.__traceback__)
            if id(frame.f_locals.get('self')) in modules
        ]
        raise CheckError(f'{reason}: {first_line(error)}', running[::-1]) from error


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


def uneven_half(group: ChannelGroup, generator: torch.Generator) -> Tensor:
    """A random half of a group's channels, ascending, and a few more if it has several parts.

    The number that each part keeps has no common divisor with the number that it had, so that code
    with a fixed size of a part, of an attention head for instance, takes other channels together.
    """
    kept = random_half(group, generator)
    per_part = group.size // group.parts
    if group.parts == 1 or per_part < 3:
        return kept
    first = kept[: len(kept) // group.parts]
    others = torch.arange(per_part)[~torch.isin(torch.arange(per_part), first)]
    others = others[torch.randperm(len(others), generator=generator)]
    more = max(len(first), per_part // 2 + 1)
    while more < per_part and math.gcd(more, per_part) > 1:
        more += 1
    first = torch.cat([first, others[: more - len(first)]])
    offsets = torch.arange(group.parts) * per_part
    return (first + offsets[:, None]).flatten().sort().values


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


def masked(
    model: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor]
) -> nn.Module:
    """A copy of the model whose slices of all but the ``kept`` channels are practically zero."""
    copied = sharing_copy(model)
    by_name = named_tensors(copied)
    for group in groups:
        stays = torch.isin(torch.arange(group.size), kept[group.name])
        for piece in group.slices:
            tensor = by_name[piece.name]
            factors = torch.ones(tensor.shape[piece.dim], dtype=tensor.dtype)
            factors[piece.positions[~stays[piece.channels]]] = TINY
            shape = [-1 if d == piece.dim else 1 for d in range(tensor.dim())]
            tensor.data = tensor.data * factors.view(shape).to(tensor.device)
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


def difference(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of tensors, relative to the largest value of each; inf for NaN."""
    if [a.shape for a in actual] != [b.shape for b in expected]:
        return math.inf
    found = 0.0
    for a, b in zip(actual, expected, strict=True):
        if a.numel():
            largest, scale = float((a - b).abs().max()), float(b.abs().max())
            if largest > 0:
                found = max(found, largest / scale if scale else math.inf)
            elif largest != 0:
                return math.inf
    return found


def tensors(results: Any) -> list[Tensor]:
    return [
        leaf
        for leaf in tree_leaves(results)
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
