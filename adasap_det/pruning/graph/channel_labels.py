"""Follow channels through a forward pass, operator by operator.

Every position along a dimension of a parameter or buffer gets a number of its own, a *unit*. While
the model runs, each activation carries labels: for each of its dimensions, the unit that every
position stands for. An operator that moves data (reshape, permute, concat, shuffle, roll, ...) is
applied to the labels as it is to the data, so they are exact for any of them; an operator that
combines tensors links the units that meet. Linked units can only be removed together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

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
        used: Names of the tensors that a pass has used.
        trained: Names of the tensors that only a training pass has used.
        split: Units of dimensions that a reshape has split.
    """

    axes: list[Axis]
    edges: list[Tensor] = field(default_factory=list)
    fixed: list[tuple[Tensor, str]] = field(default_factory=list)
    read: list[Tensor] = field(default_factory=list)
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
            countable: ``'last'`` (the default) or ``'first'``. Along the others all positions are removed together.

    Attributes:
        links: What was found.
    """

    def __init__(self, model: nn.Module, *, kept_dims: Mapping[int, str] | None = None) -> None:
        self.links = Links(axes=[])
        self._kept_dims = dict(kept_dims or {})
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
    def tracing(self) -> Iterator[None]:
        """Follow everything that runs inside, without gradients."""
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Mode(self):
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

    def rectangular(self, places: Tensor, vector: Tensor, *, keep: int | None = None) -> Labels:
        """Labels of a tensor from what each of its elements was in a labelled dimension.

        A tensor loses whole slices only. Where the elements vary along several dimensions, the
        units along all but one of them are linked.

        Args:
            places: Position of each element in the labelled dimension.
            vector: Unit of each position.
            keep: The dimension that stays countable, where it is known.
        """
        varying = [d for d in range(places.dim()) if _varies(places, d)]
        for dim in range(places.dim()):
            if dim not in varying:
                places = places.narrow(dim, 0, 1)
        if not varying:
            return (None,) * places.dim()
        chosen = varying[0]
        units = vector[places]
        if len(varying) > 1 or keep is not None:
            chosen = keep if keep is not None else self._choose(vector, varying)
            self.links.split.update(vector[vector >= 0].tolist())
            rows = units.movedim(chosen, 0).flatten(1)
            for column in rows.unbind(1):
                self.link(rows[:, 0], column)
            units = rows.max(1).values
        return tuple(units.flatten() if d == chosen else None for d in range(places.dim()))

    def _choose(self, vector: Tensor, varying: Sequence[int]) -> int:
        known = vector[vector >= 0]
        choice = self._kept_dims.get(int(known[0]), 'last') if known.numel() else 'last'
        return varying[0 if choice == 'first' else -1]


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
            rule = _rule_of(func)
            weights = rule not in _MAKING and all(
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


def _varies(units: Tensor, dim: int) -> bool:
    if units.shape[dim] < 2 or units.stride(dim) == 0:
        return False
    return not torch.equal(units, units.narrow(dim, 0, 1).expand_as(units))


# ---------------------------------------------------------------------- rules of the operators

Rule = Callable[[ChannelTracer, Any, tuple, dict, Any], None]


def _rule_of(func: Any) -> Rule:
    name = func._schema.name.partition('::')[2]
    name = name[:-1] if name.endswith('_') and name[:-1] in _RULES else name
    if name in _RULES:
        return _RULES[name]
    if torch.Tag.pointwise in func.tags:
        return _pointwise
    return _unknown


def _unknown(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    name = func._schema.name.partition('::')[2]
    for leaf in tree_leaves((args, kwargs)):
        tracer.fix(tracer.of(leaf), f'its channels go through {name}, which is not supported')
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, ())


def _aligned(labels: Labels, shape: torch.Size, target: torch.Size) -> Labels:
    """Labels of a tensor after broadcasting to ``target``."""
    padded = (None,) * (len(target) - len(shape)) + labels
    sizes = (1,) * (len(target) - len(shape)) + tuple(shape)
    return tuple(
        vector if size == wanted else None
        for vector, size, wanted in zip(padded, sizes, target, strict=True)
    )


def _pointwise(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    for output in outputs:
        aligned = [_aligned(tracer.of(t), t.shape, output.shape) for t in inputs]
        tracer.set(output, [tracer.link(*column) for column in zip(*aligned, strict=True)])


def _same(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    """The result has the shape and the channels of the first argument."""
    source = args[0]
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, tracer.of(source) if leaf.shape == source.shape else ())


def _copy(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    target, source = args[:2]
    labels = _aligned(tracer.of(source), source.shape, target.shape)
    base = target._base
    if base is not None and base.dim() == target.dim():
        # A part of a tensor is written: the rest of it has the same channels.
        known = tracer.of(base)
        merged = []
        for d, vector in enumerate(labels):
            if base.shape[d] == target.shape[d]:
                merged.append(tracer.link(known[d], vector))
            else:
                merged.append(known[d])
                tracer.fix((vector,), 'its channels are written into a part of a tensor')
        tracer.set(base, merged)
    tracer.set(target, labels)


def _index_put(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    target, indices, values = args[:3]
    if len(indices) != 1 or indices[0] is None or values.dim() != target.dim():
        return _unknown(tracer, func, args, kwargs, result)
    known = tracer.of(target)
    labels = [None, *(tracer.link(*both) for both in zip(known[1:], tracer.of(values)[1:]))]
    tracer.set(target, labels)
    tracer.set(result, labels)
    return None


def _move(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    """Operators that only move elements: applied to positions as to the data."""
    source, labels = args[0], tracer.of(args[0])
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    collected: list[list[Tensor | None]] = [[None] * output.dim() for output in outputs]
    name = func._schema.name
    for dim, vector in enumerate(labels):
        if vector is None:
            continue
        shape = [-1 if d == dim else 1 for d in range(source.dim())]
        places = torch.arange(len(vector), dtype=torch.float64).view(shape).expand(source.shape)
        moved = (
            places.reshape(result.shape)
            if name in _RESHAPES
            else func(places, *args[1:], **kwargs)
        )
        keep = 1 if name == 'aten::pixel_shuffle' else None
        for output, total in zip(tree_leaves(moved), collected, strict=True):
            each = tracer.rectangular(output.long(), vector, keep=keep)
            if all(one is None for one in each):
                tracer.fix((vector,), 'its channels are indexed one by one')
            for d, one in enumerate(each):
                if one is not None and total[d] is not None:
                    tracer.fix((total[d], one), 'two kinds of channels share one dimension')
                total[d] = one if one is not None else total[d]
    for output, total in zip(outputs, collected, strict=True):
        tracer.set(output, total)


def _pad(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Tensor) -> None:
    source, pad = args[:2]
    labels = list(tracer.of(source))
    for i in range(0, len(pad), 2):
        dim = source.dim() - 1 - i // 2
        vector = labels[dim]
        if vector is not None and (pad[i] or pad[i + 1]):
            labels[dim] = nn.functional.pad(vector, (pad[i], pad[i + 1]), value=-1)
    tracer.set(result, labels)


def _transpose(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Tensor) -> None:
    source = args[0]
    name = func._schema.name
    if name == 'aten::permute':
        order = [d % source.dim() for d in args[1]]
    else:
        a, b = (0, 1) if name == 'aten::t' else args[1:3]
        order = list(range(source.dim()))
        if order:
            order[a], order[b] = order[b], order[a]
    labels = tracer.of(source)
    tracer.set(result, [labels[d] for d in order])


def _expand(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Tensor) -> None:
    tracer.set(result, _aligned(tracer.of(args[0]), args[0].shape, result.shape))


def _cat(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Tensor) -> None:
    tensors = [t for t in args[0] if t.dim() == result.dim() and t.numel()]
    dim = (args[1] if len(args) > 1 else kwargs.get('dim', 0)) % result.dim()
    labels: list[Tensor | None] = []
    for d in range(result.dim()):
        vectors = [tracer.of(t)[d] for t in tensors]
        if d != dim:
            labels.append(tracer.link(*vectors))
        elif all(v is None for v in vectors):
            labels.append(None)
        else:
            sizes = [t.shape[d] for t in tensors]
            labels.append(
                torch.cat([torch.full((n,), -1) if v is None else v
                           for v, n in zip(vectors, sizes, strict=True)])
            )
    tracer.set(result, labels)


def _stack(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Tensor) -> None:
    dim = (args[1] if len(args) > 1 else kwargs.get('dim', 0)) % result.dim()
    columns = zip(*(tracer.of(t) for t in args[0]), strict=True)
    labels: list[Tensor | None] = [tracer.link(*column) for column in columns]
    labels.insert(dim, None)
    tracer.set(result, labels)


def _split(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    """Equal parts, as of ``chunk``, stay equal; others keep their own channels."""
    source = args[0]
    dim = (args[2] if len(args) > 2 else kwargs.get('dim', 0)) % source.dim()
    labels = tracer.of(source)
    vector = labels[dim]
    if vector is not None:
        pieces = vector.split([part.shape[dim] for part in result])
        if len({len(piece) for piece in pieces}) == 1:
            tracer.link(*pieces)
    start = 0
    for part in result:
        each = list(labels)
        if vector is not None:
            each[dim] = vector[start : start + part.shape[dim]]
            start += part.shape[dim]
        tracer.set(part, each)


def _unbind(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    source = args[0]
    dim = (args[1] if len(args) > 1 else kwargs.get('dim', 0)) % source.dim()
    labels = tracer.of(source)
    tracer.fix(labels[dim : dim + 1], 'its channels are indexed one by one')
    for part in result:
        tracer.set(part, labels[:dim] + labels[dim + 1 :])


def _glu(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Tensor) -> None:
    source = args[0]
    dim = (args[1] if len(args) > 1 else kwargs.get('dim', -1)) % source.dim()
    labels = list(tracer.of(source))
    if labels[dim] is not None:
        labels[dim] = tracer.link(*labels[dim].chunk(2))
    tracer.set(result, labels)


def _convolution(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    x, weight, bias = args[:3]
    transposed, groups = bool(args[6]), args[8]
    inputs, weights = tracer.of(x), tracer.of(weight)
    tracer.fix(inputs[2:], 'its channels are positions that a convolution moves over')
    read, made = inputs[1], weights[0]
    channels = x.shape[1]
    if transposed:
        taps, made = weights[0], weights[1]
        if groups > 1 and made is not None:
            made = made.repeat(groups)
    else:
        taps = weights[1]
    if not transposed and groups > 1:
        if channels == groups and weight.shape[0] % groups == 0 and weight.shape[1] == 1:
            taps = _depthwise(tracer, read, made, groups)
        else:
            for vector in (read, made):
                if vector is not None:
                    tracer.link(*vector.view(groups, -1))  # parts of equal size
            if taps is not None:
                taps = taps.repeat(groups)
    elif groups > 1:
        for vector in (taps, read):
            if vector is not None:
                tracer.link(*vector.view(groups, -1))
    tracer.link(read, taps)
    tracer.reads(weight, 0 if transposed else 1)
    made = tracer.link(made, tracer.of(bias)[0] if isinstance(bias, Tensor) else None)
    if made is None and groups > 1 and read is not None and channels == result.shape[1]:
        made = read
    tracer.set(result, [inputs[0], made, *(None for _ in result.shape[2:])])


def _depthwise(
    tracer: ChannelTracer, read: Tensor | None, made: Tensor | None, groups: int
) -> None:
    """Each input channel makes its own output channels, which go with it."""
    if made is None:
        return
    multiplier = made.view(groups, -1)
    tracer.link(*multiplier.unbind(1))
    tracer.link(multiplier[:, 0], read)


def _contraction(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    """Matrix products: the dimension summed over is linked, the others go on."""
    name = func._schema.name.partition('::')[2]
    added = None
    if name in ('addmm', 'baddbmm', 'addmv'):
        added, *args = args  # type: ignore[assignment]
    a, b = args[:2]
    left, right = tracer.of(a), tracer.of(b)
    tracer.link(left[-1], right[-2] if b.dim() > 1 else right[-1])
    tracer.reads(a, a.dim() - 1)
    tracer.reads(b, max(b.dim() - 2, 0))
    labels = [*left[:-2], *(left[-2:-1] if a.dim() > 1 else ()), *(right[-1:] if b.dim() > 1 else ())]
    if a.dim() > 2:
        labels[:-2] = [tracer.link(p, q) for p, q in zip(left[:-2], right[:-2], strict=True)]
    if added is not None:
        other = _aligned(tracer.of(added), added.shape, result.shape)
        labels = [tracer.link(p, q) for p, q in zip(labels, other, strict=True)]
    tracer.set(result, labels)


def _normalisation(
    tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any
) -> None:
    """Batch norm: parameters and statistics along dimension 1."""
    labels = list(tracer.of(args[0]))
    for tensor in args[1:5]:
        if isinstance(tensor, Tensor):
            labels[1] = tracer.link(labels[1], tracer.of(tensor)[0])
    _first_result(tracer, result, labels)


def _layer_norm(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    x, shape = args[:2]
    labels = list(tracer.of(x))
    for tensor in args[2:4]:
        if isinstance(tensor, Tensor):
            for i, vector in enumerate(tracer.of(tensor)):
                d = x.dim() - len(shape) + i
                labels[d] = tracer.link(labels[d], vector)
    _first_result(tracer, result, labels)


def _group_norm(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    x, groups = args[0], args[6]
    labels = list(tracer.of(x))
    for tensor in args[1:3]:
        if isinstance(tensor, Tensor):
            labels[1] = tracer.link(labels[1], tracer.of(tensor)[0])
    if labels[1] is not None:
        tracer.link(*labels[1].view(groups, -1))
    _first_result(tracer, result, labels)


def _first_result(tracer: ChannelTracer, result: Any, labels: Sequence[Tensor | None]) -> None:
    first, *others = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    tracer.set(first, labels)
    for leaf in others:
        tracer.set(leaf, ())


def _spatial(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    """Pooling, interpolation, sampling: images and channels stay, positions change."""
    x = args[0]
    labels = tracer.of(x)
    tracer.fix(labels[2:], 'its channels are positions of a map')
    for other in args[1:]:
        if isinstance(other, Tensor):
            tracer.fix(tracer.of(other)[1:], 'its channels are coordinates')
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, [*labels[:2], *(None for _ in leaf.shape[2:])])


def _reduction(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    x = args[0]
    labels = tracer.of(x)
    bound = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    dims = bound.get('dim')
    if dims is None or dims == []:
        dims = list(range(x.dim()))
    dims = {d % max(x.dim(), 1) for d in (dims if isinstance(dims, (list, tuple)) else [dims])}
    keepdim = bool(bound.get('keepdim', False))
    left = [
        None if d in dims else vector
        for d, vector in enumerate(labels)
        if keepdim or d not in dims
    ]
    if func._schema.name.partition('::')[2] in _ORDERED:
        tracer.fix([labels[d] for d in dims], 'its channels are put in order')
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, left if leaf.dim() == len(left) else ())


def _ordering(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    """Sorting and cumulative sums: the dimension itself cannot lose channels."""
    x = args[0]
    labels = list(tracer.of(x))
    bound = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    dim = bound.get('dim', -1) % x.dim()
    tracer.fix(labels[dim : dim + 1], 'its channels are put in order')
    labels[dim] = None
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, labels if leaf.dim() == x.dim() else ())


def _factory(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, ())


def _embedding(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    labels = tracer.of(args[0])
    tracer.fix(labels[:1], 'it is a table of embeddings')
    tracer.set(result, [*(None for _ in result.shape[1:]), labels[1]])


_RESHAPES = {'aten::view', 'aten::_unsafe_view', 'aten::reshape', 'aten::_reshape_alias'}
_MAKING = (_convolution, _contraction, _normalisation, _layer_norm, _group_norm)
_ORDERED = {'argmax', 'argmin', 'median', 'mode', 'kthvalue'}
_RULES: dict[str, Rule] = {
    **dict.fromkeys(('_softmax', '_log_softmax', 'native_dropout', 'clone', 'contiguous', 'detach',
                     '_to_copy', 'alias', 'lift_fresh', '_safe_softmax', 'bernoulli',
                     'relu', 'logcumsumexp', 'hardtanh', 'relu6', 'hardswish', 'hardsigmoid', 'silu',
                     'mish', 'gelu', 'elu', 'leaky_relu', 'softplus', 'celu', 'selu', 'fill', 'zero'), _same),
    'copy': _copy,
    'index_put': _index_put,
    '_index_put_impl': _index_put,
    **dict.fromkeys(('view', 'reshape', '_unsafe_view', '_reshape_alias', 'squeeze', 'unsqueeze',
                     'slice', 'select', 'roll', 'flip', 'rot90', 'repeat', 'index', 'index_select',
                     'gather', 'pixel_shuffle', 'pixel_unshuffle', 'channel_shuffle',
                     'native_channel_shuffle', 'im2col', 'unfold', 'reflection_pad1d',
                     'diagonal', 'take_along_dim', 'unsqueeze_copy', 'view_copy'), _move),
    'constant_pad_nd': _pad,
    **dict.fromkeys(('t', 'transpose', 'permute'), _transpose),
    'expand': _expand,
    'cat': _cat,
    'stack': _stack,
    **dict.fromkeys(('split', 'split_with_sizes', 'unsafe_split', 'unsafe_split_with_sizes'), _split),
    'unbind': _unbind,
    'glu': _glu,
    '_prelu_kernel': _pointwise,
    'convolution': _convolution,
    **dict.fromkeys(('mm', 'bmm', 'addmm', 'baddbmm', 'mv', 'dot', 'addmv'), _contraction),
    **dict.fromkeys(('native_batch_norm', '_native_batch_norm_legit',
                     '_native_batch_norm_legit_no_training', 'cudnn_batch_norm',
                     '_batch_norm_impl_index'), _normalisation),
    'native_layer_norm': _layer_norm,
    '_fused_rms_norm': _layer_norm,
    'native_group_norm': _group_norm,
    **dict.fromkeys(('max_pool2d_with_indices', 'max_pool3d_with_indices', 'avg_pool2d',
                     'avg_pool3d', 'avg_pool1d', '_adaptive_avg_pool2d', '_adaptive_avg_pool3d',
                     'adaptive_avg_pool1d', 'adaptive_max_pool2d', 'upsample_nearest2d',
                     '_upsample_nearest_exact2d', 'upsample_bilinear2d', 'upsample_bicubic2d',
                     '_upsample_bilinear2d_aa', '_upsample_bicubic2d_aa', 'upsample_linear1d',
                     'upsample_nearest1d', 'upsample_trilinear3d', 'upsample_nearest3d',
                     'reflection_pad2d', 'replication_pad2d', 'grid_sampler_2d', 'roi_align',
                     'max_pool2d', 'col2im'),
                    _spatial),
    **dict.fromkeys(('mean', 'sum', 'amax', 'amin', 'max', 'min', 'var', 'std', 'var_mean',
                     'std_mean', 'linalg_vector_norm', 'norm', 'logsumexp', 'prod', 'all', 'any',
                     'argmax', 'argmin', 'nansum', 'median'), _reduction),
    **dict.fromkeys(('topk', 'sort', 'cumsum', 'cumprod', 'cummax', 'argsort', 'kthvalue'),
                    _ordering),
    **dict.fromkeys(('new_zeros', 'new_ones', 'new_full', 'new_empty', 'zeros_like', 'ones_like',
                     'full_like', 'empty_like', 'rand_like', 'randn_like', 'new_empty_strided',
                     '_local_scalar_dense', 'item', 'is_nonzero', 'equal', 'nonzero',
                     'rand', 'sym_size', 'empty_strided', '_has_compatible_shallow_copy_type'),
                    _factory),
    'embedding': _embedding,
}
