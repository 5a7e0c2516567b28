"""Find the channel groups of a model: Torch-Pruning's graph, then a cut by way of trial."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import torch
import torch_pruning as tp
from mmengine.logging import print_log
from torch import Tensor, nn

from adasap_det.pruning.budgets.cost import COUNTED
from adasap_det.pruning.surgery import prune_channels
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.modules import eval_mode
from adasap_det.utils.name_patterns import matches

from .channel_group import ChannelAnalysis, ChannelGroup
from .coupling import UnprunableError, to_channel_group
from .tracing import like_parameters, trace_forward

SHOWN = 4
"""Names that a message lists of many."""


def find_channel_groups(
    model: nn.Module,
    example_inputs: Tensor,
    *,
    exclude: Sequence[str] = (),
) -> ChannelAnalysis:
    """Trace ``model`` and collect its channel groups. The model itself is not touched.

    Args:
        model: Detector, classifier or plain module, in any mode. Parameters frozen from outside
            belong to groups all the same; layers that the model itself freezes whenever its mode
            is set, as mmdet's ``frozen_stages`` do, stay whole.
        example_inputs: One image, shape ``(1, 3, H, W)``, or what else the model takes; its values
            do not matter, its size does where layers depend on it.
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

    shadow = copy_unwrapped(model)  # tracing switches modes and needs gradients everywhere
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
            example_inputs=like_parameters(example_inputs, shadow),
            forward_fn=forward,
            verbose=False,
        )
        found = list(graph.get_all_groups())

    frozen = _frozen_by_the_model(shadow, graph)
    if frozen:
        print_log(
            f'Layers kept whole, as the model itself freezes them: {_some(frozen)}'
            f'{f", ... ({len(frozen)} in all)" if len(frozen) > SHOWN else ""}',
            logger='current',
        )
    names = {module: name for name, module in shadow.named_modules()}
    names |= {parameter: name for name, parameter in shadow.named_parameters()}
    analysis = ChannelAnalysis(
        groups=[], skipped={name: f'{name} is frozen by the model itself' for name in frozen}
    )
    for tp_group in found:
        root = names[tp_group[0].dep.target.module]
        try:
            group = to_channel_group(root, tp_group, graph, names)
        except UnprunableError as reason:
            analysis.skipped[root] = str(reason)
            continue
        owners = dict.fromkeys(piece.name.rpartition('.')[0] for piece in group.own)
        excluded = [name for name in owners if matches(name, exclude)]
        if excluded:
            analysis.skipped[root] = f'{excluded[0]} is excluded'
        else:
            analysis.groups.append(group)
    two_stage = getattr(model, 'roi_head', None) is not None  # traced otherwise than it is run
    whole = None if two_stage else shapes
    for name, why in _trial_pruning_failures(model, analysis.groups, example_inputs, whole).items():
        analysis.groups = [group for group in analysis.groups if group.name != name]
        analysis.skipped[name] = why
        print_log(f'{name} is kept whole: {why}', logger='current', level=logging.WARNING)
    if not analysis.groups:
        reasons = '; '.join(f'{k}: {v}' for k, v in analysis.skipped.items()) or 'no layers'
        raise ValueError(f'no channel of the model can be pruned ({reasons})')
    return analysis


def _frozen_by_the_model(shadow: nn.Module, graph: tp.DependencyGraph) -> list[str]:
    """Layers that setting the mode has frozen again and that the graph, of gradients, misses.

    They stay whole on purpose: what can't learn can't make up for the channels that it has lost.
    """
    return [
        name
        for name, module in shadow.named_modules()
        if isinstance(module, COUNTED)
        and not module.weight.requires_grad
        and module not in graph.module2node
    ]


def _trial_pruning_failures(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    example_inputs: Tensor,
    whole: Sequence[torch.Size] | None,
) -> dict[str, str]:
    """Groups that the model cannot lose a channel of, and why, by name.

    ``whole`` are the shapes of the model's outputs, where they are known.

    A forward pass may count channels in ways that the graph does not show: it splits at a fixed
    channel, adds a buffer, or returns what it also goes on to use. Here it is run and seen.
    """

    def outputs(shadow: nn.Module) -> list[torch.Size]:
        with eval_mode(shadow), torch.no_grad():
            return _shapes(trace_forward(shadow, like_parameters(example_inputs, shadow)))

    def trouble(some: Sequence[ChannelGroup]) -> str | None:
        kept = {group.name: _without_the_first(group) for group in some}
        shadow = copy_unwrapped(model)
        try:
            prune_channels(shadow, some, kept)
            same = outputs(shadow) == whole
        except Exception as error:  # whatever the model raises is the reason
            return f'without one of its channels the model fails: {error}'
        return None if same else 'it changes the shape of an output of the model'

    groups = [group for group in groups if group.size > group.parts]
    if not groups:
        return {}
    if whole is None:
        whole = outputs(copy_unwrapped(model))
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


def _some(names: Iterable[str]) -> str:
    listed = list(islice(names, SHOWN))
    return ', '.join(listed) or '(none)'
