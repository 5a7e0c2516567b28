"""Follow channels through a forward pass, operator by operator.

Every position along a dimension of a parameter or buffer gets a number of its own, a *unit*. While
the model runs, each activation carries labels: for each of its dimensions, the unit that every
position stands for. An operator that moves data (reshape, permute, concat, shuffle, roll, ...) is
applied to the labels as it is to the data, so they are exact for any of them; an operator that
combines tensors links the units that meet. Linked units can only be removed together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from .operator_rules import MAKING, rule_of, varies

Labels = tuple[Tensor | None, ...]
"""For each dimension of a tensor the unit of every position, shape ``(size,)``, -1 for none."""

OUTPUT = 'is an output of the model'

_CONV = nn.modules.conv._ConvNd


@dataclass(frozen=True)
class Axis:
    """One dimension of a parameter or buffer whose positions are units.

    Attributes:
        name: Dotted name of the tensor.
        dim: The dimension.
        first: Unit of its first position; the others follow.
        size: Number of positions.
    """

    name: str
    dim: int
    first: int
    size: int


@dataclass
class Links:
    """What one or more forward passes have shown about the units.

    Attributes:
        axes: All axes, in the order of the tensors in the model.
        edges: Pairs of units that can only be removed together, each of shape ``(2, K)``.
        fixed: Units that cannot be removed, with the reason.
        read: Units of parameters over which an operator has summed: it reads the channels there.
        mixed: Units that an operator has combined with each other, as a mean over channels does,
            with the operator's name.
        used: Names of the tensors that a pass has used.
        trained: Names of the layers that only a training pass runs.
        split: Units of dimensions that a reshape has split.
    """

    axes: list[Axis]
    edges: list[Tensor] = field(default_factory=list)
    fixed: list[tuple[Tensor, str]] = field(default_factory=list)
    read: list[Tensor] = field(default_factory=list)
    mixed: list[tuple[Tensor, str]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)
    split: set[int] = field(default_factory=set)

    @property
    def num_units(self) -> int:
        """Number of units of all axes."""
        return self.axes[-1].first + self.axes[-1].size if self.axes else 0

    def axis_of(self, unit: int) -> Axis:
        """The axis that a unit lies on."""
        return self.axes[bisect_right([axis.first for axis in self.axes], unit) - 1]


class ChannelTracer:
    """Collects the links between the channels of a model while it runs.

    Args:
        model: The model; it is run by the caller, inside :meth:`tracing`.
        kept_dims: For units of a dimension that a reshape splits in several, which of these stays
            countable: ``'last'`` (the default) or ``'first'``. Along the others all positions
            are removed together.

    Attributes:
        links: What was found.
    """

    def __init__(self, model: nn.Module, *, kept_dims: Mapping[int, str] | None = None) -> None:
        self.links = Links(axes=[])
        self._kept_dims = dict(kept_dims or {})
        self._random = False
        self._labels: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._names: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._weights: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        persistent = set(model.state_dict(keep_vars=True))
        owners = dict(model.named_modules())
        first = 0
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point():
                continue
            labels: list[Tensor | None] = []
            for dim, size in enumerate(tensor.shape):
                kernel = dim > 1 and isinstance(owners[name.rpartition('.')[0]], _CONV)
                if size < 2 or kernel:
                    labels.append(None)
                    continue
                labels.append(torch.arange(first, first + size))
                self.links.axes.append(Axis(name, dim, first, size))
                first += size
            self._labels[tensor] = tuple(labels)
            self._names[tensor] = name
            if name not in persistent:
                self.fix(tuple(labels), f'{name} is a buffer that checkpoints do not hold')

    @contextmanager
    def tracing(self, *, random: bool = False) -> Iterator[None]:
        """Follow everything that runs inside, without gradients.

        Args:
            random: Whether masks of dropout and the like may be among the tensors. Otherwise those
                that meet channels without following from parameters have fixed channels.
        """
        self._random = random
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad(), _attention_in_parts(), _Mode(self):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)

    # ------------------------------------------------------------------ what operators use

    def of(self, tensor: Any) -> Labels:
        """Labels of a tensor."""
        if not isinstance(tensor, Tensor):
            return ()
        name = self._names.get(tensor)
        if name is not None:
            self.links.used.add(name)
        return self._labels.get(tensor, (None,) * tensor.dim())

    def set(self, tensor: Tensor, labels: Sequence[Tensor | None]) -> None:
        """Label the result of an operator."""
        if any(each is not None for each in labels):
            self._labels[tensor] = tuple(labels)
        else:
            self._labels.pop(tensor, None)

    def link(self, *vectors: Tensor | None) -> Tensor | None:
        """Link the units that stand at the same positions; returns the first of each."""
        result: Tensor | None = None
        for vector in vectors:
            if vector is None:
                continue
            if result is None:
                result = vector
                continue
            both = (result >= 0) & (vector >= 0) & (result != vector)
            if bool(both.any()):
                self.links.edges.append(torch.stack([result[both], vector[both]]))
            result = torch.where(result >= 0, result, vector)
        return result

    def fix(self, labels: Sequence[Tensor | None], reason: str) -> None:
        """Say that units cannot be removed."""
        for vector in labels:
            if vector is not None and bool((vector >= 0).any()):
                self.links.fixed.append((vector[vector >= 0], reason))

    def fix_output(self, tensor: Tensor) -> None:
        """Say that a tensor is an output of the model, whose channels have a meaning."""
        for vector in self.of(tensor):
            if vector is not None and bool((vector >= 0).any()):
                owner = self.links.axis_of(int(vector[vector >= 0][0])).name.rpartition('.')[0]
                self.fix((vector,), f'{owner} {OUTPUT}')

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor was computed from parameters alone."""
        return tensor in self._names or tensor in self._weights

    def mark_weight(self, tensor: Tensor) -> None:
        """Say that a tensor was computed from parameters alone."""
        self._weights[tensor] = True

    def reads(self, tensor: Tensor, dim: int) -> None:
        """Say that an operator sums over a dimension of a tensor."""
        vector = self.of(tensor)[dim]
        if vector is not None and self.is_weight(tensor):
            self.links.read.append(vector[vector >= 0])

    def mixes(self, func: Any, *vectors: Tensor | None) -> None:
        """Say that an operator combines the channels of a dimension with each other."""
        name = func._schema.name.partition('::')[2]
        for vector in vectors:
            if vector is not None and bool((vector >= 0).any()):
                self.links.mixed.append((vector[vector >= 0], name))

    def fix_unlike(self, vector: Tensor, other: Tensor, dim: int) -> None:
        """Say that channels cannot be removed if a tensor without channels has a value for each."""
        if not self._random and varies(other, dim):
            self.fix((vector,), 'its channels are combined with a constant for each of them')

    def rectangular(self, places: Tensor, vector: Tensor, *, keep: int | None = None) -> Labels:
        """Labels of a tensor from what each of its elements was in a labelled dimension.

        A tensor loses whole slices only. Where the elements vary along several dimensions, the
        units along all but one of them are linked.

        Args:
            places: Position of each element in the labelled dimension, of any dtype.
            vector: Unit of each position.
            keep: The dimension that stays countable, where it is known.
        """
        varying = []
        for dim in range(places.dim()):
            if varies(places, dim):
                varying.append(dim)
            else:
                places = places.narrow(dim, 0, 1)
        if not varying:
            return (None,) * places.dim()
        chosen = varying[0]
        units = vector[places.long()]
        if len(varying) > 1 or keep is not None:
            chosen = keep if keep is not None else self._choose(vector, varying)
            self.links.split.update(vector[vector >= 0].tolist())
            rows = units.movedim(chosen, 0).flatten(1)
            self.link(rows[:, :1].expand_as(rows), rows)
            units = rows.max(1).values
        return tuple(units.flatten() if d == chosen else None for d in range(places.dim()))

    def _choose(self, vector: Tensor, varying: Sequence[int]) -> int:
        known = vector[vector >= 0]
        choice = self._kept_dims.get(int(known[0]), 'last') if known.numel() else 'last'
        return varying[0 if choice == 'first' else -1]


def _attention_in_parts() -> AbstractContextManager[Any]:
    """Let PyTorch compute attention by matrix products and a softmax, which can be followed."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # before PyTorch 2.3
        return torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    return sdpa_kernel(SDPBackend.MATH)


class _Mode(TorchDispatchMode):
    """Runs each operator, then labels its results."""

    def __init__(self, tracer: ChannelTracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        tracer = self._tracer
        if any(each is not None for tensor in tensors for each in tracer.of(tensor)):
            rule = rule_of(func)
            weights = rule not in MAKING and all(
                tracer.is_weight(t) for t in tensors if any(v is not None for v in tracer.of(t))
            )
            rule(tracer, func, args, kwargs, result)
            if weights:
                for leaf in tree_leaves(result):
                    if isinstance(leaf, Tensor):
                        tracer.mark_weight(leaf)
        else:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    tracer.set(leaf, ())
        return result
