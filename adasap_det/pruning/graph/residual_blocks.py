"""Residual blocks and transformer layers that can be removed as a whole, found by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from adasap_det.checkpoint.removed_blocks import is_inside, replace_blocks
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.dist import broadcast_from_rank0
from adasap_det.utils.modules import eval_mode
from adasap_det.utils.name_patterns import matches
from adasap_det.utils.random_state import RandomState, same_randomness

from .channel_group import ChannelGroup
from .coupling import LAYER_TYPES
from .tracing import TRACED_ROIS, like_parameters, run_every_layer
from .training_pass import train_forward
from .value_check import (
    TOLERANCE,
    difference,
    first_line,
    randomized,
    sharing_copy,
    tensors,
    without_dropout,
)


@dataclass(frozen=True)
class ResidualBlock:
    """A module that adds one or several branches to its input, which the identity can replace.

    Attributes:
        name: Dotted name of the module.
        ends: Names of the parameters of the last layer or norm of each branch: with these at zero
            the module returns its input.
    """

    name: str
    ends: tuple[str, ...]

    def contains(self, name: str) -> bool:
        """Whether a layer, a tensor or a channel group is inside, by name."""
        return is_inside(name, [self.name])

    def inner(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """The channel groups that go with the block: all their slices are inside."""
        return [g for g in groups if all(self.contains(piece.name) for piece in g.slices)]


def find_residual_blocks(
    model: nn.Module,
    example_inputs: Tensor,
    groups: Sequence[ChannelGroup],
    *,
    exclude: Sequence[str] = (),
) -> list[ResidualBlock]:
    """Find the innermost modules that can be removed as a whole. The model is not changed.

    Such a module has layers, is called once with a tensor as its first argument, and returns a
    tensor of the same shape: exactly its input where the last layers or norms of its branches are
    zero. This is tried in float64 with random weights. Any class of module may be one; a block
    with a downsampling shortcut is none, nor is a layer that normalises the sum.

    Args:
        model: Detector, classifier or plain module, in any mode.
        example_inputs: One image, shape ``(1, 3, H, W)``, or what else the model takes.
        groups: Its channel groups.
        exclude: Name patterns (``fnmatch``); a block with a layer that one matches stays.

    Returns:
        The blocks, in the order of the modules. Without those that the model itself freezes, that
        share parameters with others, whose inner channels are read outside, or whose removal
        changes anything else: with all blocks removed the model computes what it does with the
        ends of their branches at zero, and in training its outputs have the same shapes.
    """
    # Rounding on another rank must not decide otherwise.
    return broadcast_from_rank0(
        lambda: _removable(model, like_parameters(example_inputs[:1], model), groups, exclude)
    )


def _removable(
    model: nn.Module, inputs: Tensor, groups: Sequence[ChannelGroup], exclude: Sequence[str]
) -> list[ResidualBlock]:
    tried = without_dropout(randomized(copy_unwrapped(model))).double().requires_grad_(False)
    as_trained = copy_unwrapped(model).requires_grad_(True)
    as_trained.train()  # mmdet's frozen_stages take effect here
    frozen = [name for name, p in as_trained.named_parameters() if not p.requires_grad]
    found = []
    search = _Search(tried)
    for block in search.blocks(inputs.double()):
        reason = (
            'it is called more than once'
            if search.calls[block.name] > 1
            else _reason_to_stay(model, block, groups, exclude=exclude, frozen=frozen)
        )
        if reason is None:
            found.append(block)
        else:
            _log(block, reason)
    problem = _Removal(model, tried, inputs).problem
    if found and problem(found) is not None:  # then one after another
        candidates, found = found, []
        for block in candidates:
            reason = problem([*found, block])
            if reason is None:
                found.append(block)
            else:
                _log(block, reason)
    position = {name: i for i, name in enumerate(dict(model.named_modules()))}
    return sorted(found, key=lambda block: position[block.name])


def _log(block: ResidualBlock, reason: str) -> None:
    print_log(f'Block {block.name} stays: {reason}', logger='current')


def _reason_to_stay(
    model: nn.Module,
    block: ResidualBlock,
    groups: Sequence[ChannelGroup],
    *,
    exclude: Sequence[str],
    frozen: Sequence[str],
) -> str | None:
    for name, _ in model.named_modules():
        if (name == block.name or block.contains(name)) and matches(name, exclude):
            return f'{name} is excluded'
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for aliases in names.values():
        if len({block.contains(name) for name in aliases}) > 1:
            return f'{aliases[0]} is shared with other modules'
    if any(block.contains(name) for name in frozen):
        return 'it is frozen by the model itself'
    for group in groups:
        inside = [block.contains(piece.name) for piece in group.own]
        if all(inside) and group not in block.inner([group]):
            return f'channels of {group.name} are read outside of it'
        if block.contains(group.layers[0]) and not all(inside):
            return f'its layer {group.layers[0]} names the channels of layers outside of it'
    return None


class _Search:
    """Runs a model and tries its modules in place, on the inputs that they get there.

    Args:
        model: A randomised copy, in float64.

    Attributes:
        calls: How often each module was called, by name.
    """

    def __init__(self, model: nn.Module) -> None:
        self.calls: Counter[str] = Counter()
        self._model = model
        self._names = {
            module: name
            for name, module in model.named_modules()
            if name and any(isinstance(m, LAYER_TYPES) for m in [*module.modules()][1:])
        }
        self._inputs: dict[nn.Module, tuple[tuple, dict]] = {}
        self._others: set[nn.Module] = set()
        self._found: list[ResidualBlock] = []
        self._trying = False

    def blocks(self, inputs: Tensor) -> list[ResidualBlock]:
        """The modules that return their input where the ends of their branches are zero."""
        with self._hooks(None, self._count):
            _run(self._model, inputs)
        self._others.update(m for m, name in self._names.items() if name not in self.calls)
        self._names = {m: name for m, name in self._names.items() if m not in self._others}
        with self._hooks(self._remember, self._try):
            _run(self._model, inputs)
        return self._found

    @contextmanager
    def _hooks(self, before: Callable | None, after: Callable) -> Iterator[None]:
        handles = [module.register_forward_hook(after, with_kwargs=True) for module in self._names]
        if before is not None:
            handles += [
                module.register_forward_pre_hook(before, with_kwargs=True) for module in self._names
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _count(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        keeps_shape = (
            bool(args)
            and isinstance(args[0], Tensor)
            and isinstance(output, Tensor)
            and (args[0].shape, args[0].dtype) == (output.shape, output.dtype)
        )
        self.calls[self._names[module]] += 1
        if not keeps_shape:
            self._others.add(module)

    def _remember(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if not self._trying:
            self._inputs[module] = _cloned((args, kwargs))  # it may write to them

    def _try(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if self._trying:
            return
        inputs = self._inputs.pop(module)
        name = self._names[module]
        if any(block.name == name or is_inside(block.name, [name]) for block in self._found):
            return  # tried before, or not the innermost
        self._trying = True
        try:
            ends = _branch_ends(module, *inputs)
        except Exception:  # it does not run with weights of zero, as a weight norm does not
            ends = []
        finally:
            self._trying = False
        if ends:
            self._found.append(ResidualBlock(name, tuple(f'{name}.{end}' for end in ends)))


def _branch_ends(module: nn.Module, args: tuple, kwargs: dict) -> list[str]:
    """Parameters that must be zero for the module to return its input; none if it never does."""
    owners = [
        {f'{prefix}.{n}' if prefix else n: p for n, p in m.named_parameters(recurse=False)}
        for prefix, m in module.named_modules()
    ]
    values = {parameter: parameter.clone() for parameter in module.parameters()}

    def is_identity() -> bool:
        call_args, call_kwargs = _cloned((args, kwargs))
        return torch.equal(module.forward(*call_args, **call_kwargs), args[0])

    try:
        for parameter in values:
            parameter.zero_()
        if not is_identity():
            return []
        ends: list[str] = []
        for owner in filter(None, owners):
            for parameter in owner.values():
                parameter.copy_(values[parameter])
            if not is_identity():
                ends += owner
                for parameter in owner.values():
                    parameter.zero_()
        return ends
    finally:
        for parameter, value in values.items():
            parameter.copy_(value)


class _Removal:
    """Compares a model without blocks to the model whose blocks have no branches.

    Args:
        model: The model.
        tried: A randomised copy, in float64.
        inputs: One image.
    """

    def __init__(self, model: nn.Module, tried: nn.Module, inputs: Tensor) -> None:
        self._model, self._tried, self._inputs = model, tried, inputs

    @cached_property
    def _dense(self) -> list[torch.Size] | str:
        return self._trained([])

    def problem(self, blocks: Sequence[ResidualBlock]) -> str | None:
        """What goes wrong without these blocks."""
        names = [block.name for block in blocks]
        zeroed, removed = sharing_copy(self._tried), sharing_copy(self._tried)
        ends = {name for block in blocks for name in block.ends}
        for name, parameter in zeroed.named_parameters():
            if name in ends:
                parameter.data = torch.zeros_like(parameter)
        replace_blocks(removed, names)
        expected = _run(zeroed, self._inputs.double())
        try:
            outputs = _run(removed, self._inputs.double())
        except Exception as error:  # whatever the model raises is the reason
            return f'without it the model fails: {first_line(error)}'
        if difference(outputs, expected) > TOLERANCE:
            return 'its removal changes more than its branch'
        if not isinstance(self._dense, str):  # the dense model trains without more than an image
            trained = self._trained(names)
            if isinstance(trained, str):
                return f'without it training fails: {trained}'
            if trained != self._dense:
                return 'its removal changes the shape of an output in training'
        return None

    def _trained(self, names: Sequence[str]) -> list[torch.Size] | str:
        """Shapes of the outputs in training mode without these blocks, or the error."""
        copied = sharing_copy(self._model)
        replace_blocks(copied, names)
        try:
            with torch.no_grad(), same_randomness(RandomState.seeded(0)):
                return [t.shape for t in tensors(train_forward(copied, self._inputs))]
        except Exception as error:
            return first_line(error)


def _run(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    with eval_mode(model), torch.no_grad(), same_randomness(RandomState.seeded(0)):
        return tensors(run_every_layer(model, inputs, num_rois=TRACED_ROIS))


_cloned = partial(tree_map_only, Tensor, Tensor.clone)
