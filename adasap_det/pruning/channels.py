"""Channel groups: which slices of which tensors live and die together.

Torch-Pruning's dependency graph finds the coupling, once; from then on groups are plain data
that the importance, the budget and the surgery share.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

import torch
import torch_pruning as tp
from mmengine.logging import print_log
from torch import Tensor, nn

from .tracing import eval_mode, example_input, trace_forward

NORM_TYPES = (
    nn.modules.batchnorm._NormBase,  # batch and instance norm, SyncBN
    nn.GroupNorm,
    nn.LayerNorm,
)


@dataclass(frozen=True)
class TensorSlice:
    """Positions along one dimension of a parameter or buffer, and the channel each belongs to.

    Attributes:
        name: Dotted name of the tensor in the model.
        dim: The dimension.
        positions: Integer tensor, shape ``(K,)``.
        channels: Channel in the group of each position, shape ``(K,)``.
    """

    name: str
    dim: int
    positions: Tensor
    channels: Tensor


@dataclass(frozen=True)
class ChannelGroup:
    """Channels coupled by residual adds, depthwise convolutions, norms, concats and the like.

    Attributes:
        name: Dotted name of one of the layers that compute them, the same at every analysis.
        size: Number of channels.
        own: Slices that compute the channels: filters, biases, norm parameters and statistics.
        consumers: Slices that read them: input channels of the layers that follow.
        layers: Names of the convolutions and linear layers that compute the channels.
        norms: Names of the norm layers over them.
        parts: Grouped convolutions, group norms and concats demand that each of ``parts`` equal
            parts of the channels loses the same ones; 1 where none is there.
    """

    name: str
    size: int
    own: tuple[TensorSlice, ...]
    consumers: tuple[TensorSlice, ...]
    layers: tuple[str, ...]
    norms: tuple[str, ...] = ()
    parts: int = 1

    @property
    def slices(self) -> tuple[TensorSlice, ...]:
        """All slices, those that compute the channels and those that read them."""
        return self.own + self.consumers

    @cached_property
    def segments(self) -> tuple[Tensor, ...]:
        """Sets of channels that make up a tensor which has not all of them.

        Behind a concat several layers share a group, or one layer reads a part of it; of each set
        one channel has to stay, or that layer would have none.
        """
        found = {}
        for piece in self.slices:
            channels = piece.channels.unique()
            if 0 < channels.numel() < self.size:
                found[channels.numpy().tobytes()] = channels
        return tuple(found.values())


@dataclass
class ChannelAnalysis:
    """What can be pruned in a model, and what cannot and why.

    Attributes:
        groups: The prunable groups, in an order that is the same at every analysis.
        kept_whole: Reason by name, for groups that must stay whole.
    """

    groups: list[ChannelGroup]
    kept_whole: dict[str, str] = field(default_factory=dict)


def find_channel_groups(
    model: nn.Module,
    *,
    input_size: tuple[int, int],
    exclude: Sequence[str] = (),
) -> ChannelAnalysis:
    """Trace ``model`` and collect its channel groups. The model itself is not touched.

    Args:
        model: Detector, classifier or plain module; frozen parameters and modules in any mode.
        input_size: Height and width of the traced picture, in pixels.
        exclude: Name patterns (``fnmatch``) of layers whose output channels all stay; a pattern
            also covers everything inside a module that it names.

    Returns:
        The groups. Output layers of the model, whose channels mean something, are kept whole,
        and so is what Torch-Pruning sees wrongly: each group is cut by way of trial, in a copy.

    Raises:
        ValueError: If a pattern of ``exclude`` matches no layer, or nothing can be pruned.
    """
    layer_names = [n for n, m in model.named_modules() if n]
    for pattern in exclude:
        if not any(matches(name, [pattern]) for name in layer_names):
            raise ValueError(
                f'exclude pattern {pattern!r} matches no layer of the model; names look like '
                f'{_some(n for n, m in model.named_modules() if isinstance(m, nn.Conv2d))}'
            )

    shadow = copy.deepcopy(model)  # tracing switches modes and needs gradients everywhere
    for parameter in shadow.parameters():
        parameter.requires_grad_(True)
    graph = tp.DependencyGraph()
    shapes: list[torch.Size] = []

    def forward(traced: nn.Module, inputs: Tensor) -> Any:
        results = trace_forward(traced, inputs, num_rois=None)
        shapes[:] = _shapes(results)
        return results

    with eval_mode(shadow), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # parameters outside known layers are handled below
        graph.build_dependency(
            shadow,
            example_inputs=example_input(shadow, input_size),
            forward_fn=forward,
            verbose=False,
        )
        found = list(graph.get_all_groups())

    names = {module: name for name, module in shadow.named_modules()}
    names |= {parameter: name for name, parameter in shadow.named_parameters()}
    analysis = ChannelAnalysis(groups=[])
    for tp_group in found:
        root = names[tp_group[0].dep.target.module]
        try:
            group = _to_channel_group(root, tp_group, graph, names)
        except _KeptWholeError as reason:
            analysis.kept_whole[root] = str(reason)
            continue
        owners = dict.fromkeys(piece.name.rpartition('.')[0] for piece in group.own)
        excluded = [name for name in owners if matches(name, exclude)]
        if excluded:
            analysis.kept_whole[root] = f'{excluded[0]} is excluded'
        else:
            analysis.groups.append(group)
    two_stage = getattr(model, 'roi_head', None) is not None  # traced otherwise than it is run
    whole = None if two_stage else shapes
    for name, why in _broken_by_a_cut(model, analysis.groups, input_size, whole).items():
        analysis.groups = [group for group in analysis.groups if group.name != name]
        analysis.kept_whole[name] = why
        print_log(f'{name} is kept whole: {why}', logger='current', level=logging.WARNING)
    if not analysis.groups:
        reasons = '; '.join(f'{k}: {v}' for k, v in analysis.kept_whole.items()) or 'no layers'
        raise ValueError(f'no channel of the model can be pruned ({reasons})')
    return analysis


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern names ``name`` or a module around it."""
    return any(fnmatch(name, p) or fnmatch(name, f'{p}.*') for p in patterns)


def without_channels(group: ChannelGroup, kept: Tensor, moved: dict) -> ChannelGroup:
    """The group after a cut.

    Args:
        group: The group before.
        kept: Channels that stay, ascending.
        moved: By tensor name and dimension, the new position of each old one, -1 where it is gone.
    """
    renumbered = torch.full((group.size,), -1)
    renumbered[kept] = torch.arange(kept.numel())

    def cut(piece: TensorSlice) -> TensorSlice:
        stays = renumbered[piece.channels] >= 0
        positions = moved[piece.name, piece.dim][piece.positions[stays]]
        return replace(piece, positions=positions, channels=renumbered[piece.channels[stays]])

    return replace(
        group,
        size=kept.numel(),
        own=tuple(cut(piece) for piece in group.own),
        consumers=tuple(cut(piece) for piece in group.consumers),
    )


def _broken_by_a_cut(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    input_size: tuple[int, int],
    whole: Sequence[torch.Size] | None,
) -> dict[str, str]:
    """Groups that the model cannot lose a channel of, and why, by name.

    ``whole`` are the shapes of the model's outputs, where they are known.

    A forward pass may count channels in ways that the graph does not show: it splits at a fixed
    channel, adds a buffer, or returns what it also goes on to use. Here it is run and seen.
    """
    from .surgery import cut_channels  # it needs the classes above

    def outputs(shadow: nn.Module) -> list[torch.Size]:
        with eval_mode(shadow), torch.no_grad():
            return _shapes(trace_forward(shadow, example_input(shadow, input_size)))

    def trouble(some: Sequence[ChannelGroup]) -> str | None:
        kept = {group.name: _without_the_first(group) for group in some}
        shadow = copy.deepcopy(model)
        try:
            cut_channels(shadow, some, kept)
            same = outputs(shadow) == whole
        except Exception as error:  # whatever the model raises is the reason
            return f'without one of its channels the model fails: {error}'
        return None if same else 'it changes the shape of an output of the model'

    groups = [group for group in groups if group.size > group.parts]
    if not groups:
        return {}
    if whole is None:
        whole = outputs(copy.deepcopy(model))
    if trouble(groups) is None:
        return {}
    found = {group.name: trouble([group]) for group in groups}
    return {name: reason for name, reason in found.items() if reason is not None}


def _shapes(results: Any) -> list[torch.Size]:
    return [t.shape for t in tp.utils.flatten_as_list(results) if isinstance(t, Tensor)]


def _without_the_first(group: ChannelGroup) -> Tensor:
    """Channels left when each part of the group loses its first."""
    channels = torch.arange(group.size)
    return channels[channels % (group.size // group.parts) != 0]


class _KeptWholeError(Exception):
    """Carries the reason why a group can't be pruned."""


def _to_channel_group(
    root: str, tp_group: tp.Group, graph: tp.DependencyGraph, names: dict
) -> ChannelGroup:
    size = graph.get_out_channels(tp_group[0].dep.target.module)
    own: dict[tuple, TensorSlice] = {}
    consumers: dict[tuple, TensorSlice] = {}
    layers: list[str] = []
    norms: list[str] = []
    parts = 1
    for item in tp_group.items:
        node, handler = item.dep.target, item.dep.handler
        module = node.module
        produces = graph.is_out_channel_pruning_fn(handler)
        if produces and not node.outputs:
            raise _KeptWholeError(f'{names.get(module, root)} is an output of the model')
        if node.type in _STRUCTURAL:
            continue
        if module not in names:
            raise _KeptWholeError(f'Torch-Pruning meets an unnamed {module}')
        name = names[module]
        positions = torch.tensor(item.idxs)
        channels = torch.tensor(item.root_idxs)
        tensors, part, consumes = _tensors_of(name, module, node, reads=not produces)
        if consumes:
            target = consumers
        else:
            target = own
            if isinstance(module, NORM_TYPES):
                norms.append(name)
            elif isinstance(module, nn.Module) and name not in layers:
                layers.append(name)
        if part > 1 and not len(item.idxs) == size == _channels_of(module, produces):
            raise _KeptWholeError(f'{name} takes them in {part} parts together with others')
        parts = math.lcm(parts, part)
        for tensor_name, dim, length in tensors:
            inside = positions < length  # a grouped convolution's filters see one part only
            piece = TensorSlice(tensor_name, dim, positions[inside], channels[inside])
            target[tensor_name, dim, piece.positions[:1].item()] = piece
    if size % parts:
        raise _KeptWholeError(f'{size} channels do not divide into {parts} parts')
    group = ChannelGroup(
        name=root,
        size=size,
        own=tuple(own.values()),
        consumers=tuple(consumers.values()),
        layers=tuple(layers),
        norms=tuple(dict.fromkeys(norms)),
        parts=parts,
    )
    return replace(group, parts=math.lcm(parts, _equal_shares(group)))


def _equal_shares(group: ChannelGroup) -> int:
    """Number of layers that the group's channels are an equal share of each, side by side.

    They lose the same channels, so that their sizes are rounded and their costs foretold; where
    shares differ, the cost of a cut is that of cutting all of them alike.
    """
    shares = sorted(group.segments, key=lambda channels: int(channels[0]))
    if not shares or {s.numel() for s in shares} != {group.size // len(shares)}:
        return 1
    return len(shares) if torch.equal(torch.cat(shares), torch.arange(group.size)) else 1


def _channels_of(module: nn.Module, produces: bool) -> int:
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    return module.out_channels if produces else module.in_channels  # type: ignore[return-value]


_STRUCTURAL = {
    tp.ops.OPTYPE.CONCAT,
    tp.ops.OPTYPE.SPLIT,
    tp.ops.OPTYPE.UNBIND,
    tp.ops.OPTYPE.EXPAND,
    tp.ops.OPTYPE.SLICE,
    tp.ops.OPTYPE.RESHAPE,
    tp.ops.OPTYPE.ELEMENTWISE,
    tp.ops.OPTYPE.OUTPUT,
}


def _tensors_of(
    name: str, module: nn.Module | nn.Parameter, node: object, *, reads: bool
) -> tuple[list[tuple[str, int, int]], int, bool]:
    """Tensors of a layer along its channels: name, dimension, length; parts; whether it reads."""
    if isinstance(module, nn.Parameter):
        dim = node.pruning_dim % module.dim()  # type: ignore[attr-defined]
        return [(name, dim, module.shape[dim])], 1, False
    if isinstance(module, nn.modules.conv._ConvNd):
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        depthwise = module.groups == module.in_channels and module.weight.shape[1] == 1
        if depthwise and module.out_channels == module.in_channels > 1:
            return _along(name, module, {'weight': 0, 'bias': 0}), 1, False
        if transposed and module.groups > 1:
            raise _KeptWholeError(f'{name} is a grouped transposed convolution')
        parts = module.groups
        if reads:
            return _along(name, module, {'weight': 0 if transposed else 1}), parts, True
        return _along(name, module, {'weight': 1 if transposed else 0, 'bias': 0}), parts, False
    if isinstance(module, nn.Linear):
        dims = {'weight': 1} if reads else {'weight': 0, 'bias': 0}
        return _along(name, module, dims), 1, reads
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
        raise _KeptWholeError(f'{name} normalises over more than the channels')
    if isinstance(module, NORM_TYPES):
        parts = module.num_groups if isinstance(module, nn.GroupNorm) else 1
        dims = {'weight': 0, 'bias': 0, 'running_mean': 0, 'running_var': 0}
        return _along(name, module, dims), parts, False
    if isinstance(module, nn.PReLU):
        return _along(name, module, {'weight': 0} if module.num_parameters > 1 else {}), 1, False
    raise _KeptWholeError(f'{name} is a {type(module).__name__}, which is not supported')


def _along(name: str, module: nn.Module, dims: dict[str, int]) -> list[tuple[str, int, int]]:
    tensors = [
        (attribute, dim, getattr(module, attribute, None)) for attribute, dim in dims.items()
    ]
    return [(f'{name}.{a}', dim, t.shape[dim]) for a, dim, t in tensors if t is not None]


def _some(names: Iterable[str], limit: int = 4) -> str:
    listed = [name for _, name in zip(range(limit), names, strict=False)]
    return ', '.join(listed) or '(none)'
