"""What each operator of PyTorch does to the channels of its inputs.

A rule gets the tracer, the operator, its arguments and its result, and labels the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from .channel_labels import ChannelTracer, Labels


Rule = Callable[['ChannelTracer', Any, tuple, dict, Any], None]


def rule_of(func: Any) -> Rule:
    """The rule of an operator, ``aten::convolution`` for example; those not known have one too."""
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
        labels = [tracer.link(*column) for column in zip(*aligned, strict=True)]
        tracer.set(output, labels)
        for t, known in zip(inputs, aligned, strict=True):
            for back in range(1, t.dim() + 1):
                vector = labels[-back] if t.dim() <= output.dim() else None
                if vector is not None and known[-back] is None and t is not output:
                    tracer.fix_unlike(vector, t, t.dim() - back)


def varies(places: Tensor, dim: int) -> bool:
    """Whether a tensor is not the same at all places of a dimension."""
    if places.shape[dim] < 2 or places.stride(dim) == 0:
        return False
    for other in range(places.dim()):
        if other != dim and places.stride(other) == 0:  # repeats itself
            places = places.narrow(other, 0, 1)
    return not torch.equal(places, places.narrow(dim, 0, 1).expand_as(places))


def _same(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    """The result has the shape and the channels of the first argument."""
    source = args[0]
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, tracer.of(source) if leaf.shape == source.shape else ())


def _softmax(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    tracer.mixes(func, tracer.of(args[0])[args[1]] if args[0].dim() else None)
    _same(tracer, func, args, kwargs, result)


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
    written = zip(known[1:], tracer.of(values)[1:], strict=True)
    labels = [None, *(tracer.link(*both) for both in written)]
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
            places.reshape(result.shape) if name in _RESHAPES else func(places, *args[1:], **kwargs)
        )
        keep = 1 if name == 'aten::pixel_shuffle' else None
        for output, total in zip(tree_leaves(moved), collected, strict=True):
            each = tracer.rectangular(output, vector, keep=keep)
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
                torch.cat(
                    [
                        torch.full((n,), -1) if v is None else v
                        for v, n in zip(vectors, sizes, strict=True)
                    ]
                )
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
            _depthwise(tracer, read, made, groups)
            taps = None
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
    if not transposed or groups != channels or weight.shape[1] > 1:
        tracer.reads(weight, 0 if transposed else 1)
    else:
        made = tracer.link(read, weights[0])  # each input channel makes its own output channel
    made = tracer.link(made, tracer.of(bias)[0] if isinstance(bias, Tensor) else None)
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
    if not tracer.is_weight(a) and not tracer.is_weight(b):
        tracer.mixes(func, left[-1])
    tracer.reads(a, a.dim() - 1)
    tracer.reads(b, max(b.dim() - 2, 0))
    labels = [
        *left[:-2],
        *(left[-2:-1] if a.dim() > 1 else ()),
        *(right[-1:] if b.dim() > 1 else ()),
    ]
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
    tracer.mixes(func, labels[0], *labels[2:])
    _first_result(tracer, result, labels)


def _layer_norm(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    x, shape = args[:2]
    labels = list(tracer.of(x))
    for tensor in args[2:4]:
        if isinstance(tensor, Tensor):
            for i, vector in enumerate(tracer.of(tensor)):
                d = x.dim() - len(shape) + i
                labels[d] = tracer.link(labels[d], vector)
    tracer.mixes(func, *labels[x.dim() - len(shape) :])
    _first_result(tracer, result, labels)


def _group_norm(tracer: ChannelTracer, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
    x, groups = args[0], args[6]
    labels = list(tracer.of(x))
    for tensor in args[1:3]:
        if isinstance(tensor, Tensor):
            labels[1] = tracer.link(labels[1], tracer.of(tensor)[0])
    if labels[1] is not None:
        tracer.link(*labels[1].view(groups, -1))
    tracer.mixes(func, labels[1])
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
        None if d in dims else vector for d, vector in enumerate(labels) if keepdim or d not in dims
    ]
    tracer.mixes(func, *(labels[d] for d in dims if d < len(labels)))
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
MAKING: tuple[Rule, ...] = (_convolution, _contraction, _normalisation, _layer_norm, _group_norm)
COUNTING = {
    '_softmax',
    '_log_softmax',
    'mean',
    'var',
    'std',
    'var_mean',
    'std_mean',
    'native_layer_norm',
    '_fused_rms_norm',
    'native_group_norm',
}
"""Operators whose results depend on the number of the channels that they combine."""

_ORDERED = {'argmax', 'argmin', 'median', 'mode', 'kthvalue'}
_BY_RULE: dict[Rule, str] = {
    _same: (
        'native_dropout clone contiguous detach _to_copy alias '
        'lift_fresh as_strided bernoulli relu relu6 hardtanh hardswish hardsigmoid silu mish gelu '
        'elu selu celu leaky_relu softplus fill zero'
    ),
    _softmax: '_softmax _log_softmax _safe_softmax',
    _pointwise: '_prelu_kernel _weight_norm_interface _weight_norm',
    _copy: 'copy',
    _index_put: 'index_put _index_put_impl',
    _move: (
        'view reshape _unsafe_view _reshape_alias view_copy squeeze unsqueeze slice select '
        'diagonal roll flip rot90 repeat index index_select gather take_along_dim pixel_shuffle '
        'pixel_unshuffle channel_shuffle native_channel_shuffle im2col unfold reflection_pad1d'
    ),
    _pad: 'constant_pad_nd',
    _transpose: 't transpose permute',
    _expand: 'expand',
    _cat: 'cat',
    _stack: 'stack',
    _split: 'split split_with_sizes unsafe_split unsafe_split_with_sizes',
    _unbind: 'unbind',
    _glu: 'glu',
    _convolution: 'convolution',
    _contraction: 'mm bmm addmm baddbmm mv addmv dot',
    _normalisation: (
        'native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training '
        'cudnn_batch_norm _batch_norm_impl_index'
    ),
    _layer_norm: 'native_layer_norm _fused_rms_norm',
    _group_norm: 'native_group_norm',
    _spatial: (
        'avg_pool1d avg_pool2d avg_pool3d max_pool2d max_pool2d_with_indices '
        'max_pool3d_with_indices adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d '
        'adaptive_max_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d '
        '_upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d upsample_bicubic2d '
        'upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa reflection_pad2d '
        'replication_pad2d grid_sampler_2d roi_align col2im'
    ),
    _reduction: (
        'mean sum nansum prod amax amin max min median var std var_mean std_mean norm '
        'linalg_vector_norm logsumexp all any argmax argmin'
    ),
    _ordering: 'topk sort argsort kthvalue cumsum cumprod cummax logcumsumexp',
    _factory: (
        'new_zeros new_ones new_full new_empty new_empty_strided zeros_like ones_like full_like '
        'empty_like rand_like randn_like _local_scalar_dense is_nonzero equal nonzero'
    ),
    _embedding: 'embedding',
}
_RULES = {name: rule for rule, names in _BY_RULE.items() for name in names.split()}
