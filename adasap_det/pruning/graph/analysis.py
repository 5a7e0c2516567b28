"""Find the channel groups of a model: Torch-Pruning's graph, then trial pruning on a copy."""

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
from .known_modules import add_known_modules
from .tracing import like_parameters, trace_forward

SHOWN = 4
"""Names that a message lists of many."""


def find_channel_groups(
    model: nn.Module,
    example_inputs: Tensor,
    *,
    exclude: Sequence[str] = (),
) -> ChannelAnalysis:
    """Trace ``model`` and collect its channel groups. The model itself is not changed.

    Args:
        model: Detector, classifier or plain module, in any mode. Parameters frozen from outside
            belong to groups too; layers that the model itself freezes whenever its mode is set,
            as mmdet's ``frozen_stages`` do, are skipped.
        example_inputs: One image, shape ``(1, 3, H, W)``, or what else the model takes; its values
            do not matter, its size does where layers depend on it.
        exclude: Name patterns (``fnmatch``) of layers whose output channels are not pruned; a
            pattern also covers everything inside a module that it names.

    Returns:
        The groups, and the skipped layers with the reasons. Output layers of the model are
        skipped, and groups that Torch-Pruning finds but that break the model: each group is
        trial-pruned on a copy.

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

    copied = copy_unwrapped(model)  # tracing switches modes and needs gradients everywhere
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    graph = tp.DependencyGraph()
    shapes: list[torch.Size] = []

    def forward(traced: nn.Module, inputs: Tensor) -> Any:
        results = trace_forward(traced, inputs, num_rois=None)
        shapes[:] = _shapes(results)
        return results

    with eval_mode(copied), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # parameters outside known layers are handled below
        graph.build_dependency(
            copied,
            example_inputs=like_parameters(example_inputs, copied),
            forward_fn=forward,
            verbose=False,
        )
        found = list(graph.get_all_groups())

    frozen = _frozen_by_the_model(copied, graph)
    if frozen:
        print_log(
            f'Layers skipped because the model itself freezes them: {_some(frozen)}'
            f'{f", ... ({len(frozen)} in all)" if len(frozen) > SHOWN else ""}',
            logger='current',
        )
    names = {module: name for name, module in copied.named_modules()}
    names |= {parameter: name for name, parameter in copied.named_parameters()}
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
    add_known_modules(analysis, copied, exclude=exclude)
    two_stage = getattr(model, 'roi_head', None) is not None  # traced differently from how it runs
    expected = None if two_stage else shapes
    for name, why in _trial_pruning_failures(
        model, analysis.groups, example_inputs, expected
    ).items():
        analysis.groups = [group for group in analysis.groups if group.name != name]
        analysis.skipped[name] = why
        print_log(f'{name} is skipped: {why}', logger='current', level=logging.WARNING)
    if not analysis.groups:
        reasons = '; '.join(f'{k}: {v}' for k, v in analysis.skipped.items()) or 'no layers'
        raise ValueError(f'no channel of the model can be pruned ({reasons})')
    return analysis


def _frozen_by_the_model(copied: nn.Module, graph: tp.DependencyGraph) -> list[str]:
    """Layers that setting the mode froze again, which the graph of gradients therefore misses.

    They are skipped on purpose: a frozen layer cannot compensate for lost channels.
    """
    return [
        name
        for name, module in copied.named_modules()
        if isinstance(module, COUNTED)
        and not module.weight.requires_grad
        and module not in graph.module2node
    ]


def _trial_pruning_failures(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    example_inputs: Tensor,
    expected: Sequence[torch.Size] | None,
) -> dict[str, str]:
    """Groups that break the model when they lose a channel, and the reason, by name.

    ``expected`` are the shapes of the model's outputs, where they are known.

    A forward pass may depend on channels in ways that the graph does not show: it splits at a fixed
    channel, adds a buffer, or returns an intermediate result. So the pruned copy is run.
    """

    def outputs(copied: nn.Module) -> list[torch.Size]:
        with eval_mode(copied), torch.no_grad():
            return _shapes(trace_forward(copied, like_parameters(example_inputs, copied)))

    def failure(some: Sequence[ChannelGroup]) -> str | None:
        kept = {group.name: _without_the_first(group) for group in some}
        copied = copy_unwrapped(model)
        try:
            prune_channels(copied, some, kept)
            same = outputs(copied) == expected
        except Exception as error:  # whatever the model raises is the reason
            return f'without one of its channels the model fails: {error}'
        return None if same else 'it changes the shape of an output of the model'

    groups = [group for group in groups if group.size > group.parts]
    if not groups:
        return {}
    if expected is None:
        expected = outputs(copy_unwrapped(model))
    if failure(groups) is None:
        return {}
    found = {group.name: failure([group]) for group in groups}
    return {name: reason for name, reason in found.items() if reason is not None}


def _shapes(results: Any) -> list[torch.Size]:
    return [t.shape for t in tp.utils.flatten_as_list(results) if isinstance(t, Tensor)]


def _without_the_first(group: ChannelGroup) -> Tensor:
    """Channels left when each part of the group loses its first one."""
    channels = torch.arange(group.size)
    return channels[channels % (group.size // group.parts) != 0]


def _some(names: Iterable[str]) -> str:
    listed = list(islice(names, SHOWN))
    return ', '.join(listed) or '(none)'
