"""Find the channel groups of a model: traced through its forward passes, then checked by value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import islice
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.dist import broadcast_from_rank0
from adasap_det.utils.modules import eval_mode
from adasap_det.utils.name_patterns import matches
from adasap_det.utils.random_state import RandomState, same_randomness

from .attention_heads import head_groups
from .channel_group import ChannelAnalysis, ChannelGroup
from .channel_labels import OUTPUT, ChannelTracer, Links
from .coupling import (
    LAYER_TYPES,
    Coupled,
    coupled_channels,
    layer_reasons,
    layers_not_run,
    unique_names,
)
from .tracing import TRACED_ROIS, fixed_outputs, like_parameters, run_every_layer
from .training_pass import train_forward
from .value_check import ValueCheck

SHOWN = 4
"""Names that a message lists of many."""

CHOICES = ('last', 'first')
"""Which dimension of a split stays countable, in the order in which they are tried."""


def find_channel_groups(
    model: nn.Module,
    example_inputs: Tensor,
    *,
    exclude: Sequence[str] = (),
    prunable_outputs: Sequence[str] = (),
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
        prunable_outputs: Name patterns of modules whose outputs may lose channels although the
            model returns them: feature maps beside its predictions, for instance.

    Returns:
        The groups, and the skipped layers with the reasons. Output layers of the model are
        skipped, and groups that fail a check by value: their channels in another order must leave
        the outputs of a randomised copy unchanged, before and after half of them are pruned.

    Raises:
        ValueError: If a pattern of ``exclude`` or ``prunable_outputs`` matches no layer, the model
            cannot be run on ``example_inputs``, or nothing can be pruned.
    """
    _check_patterns(model, exclude=exclude, prunable_outputs=prunable_outputs)
    inputs = like_parameters(example_inputs[:1], model)
    as_trained = _as_trained(model)
    frozen = _frozen_layers(as_trained)
    heads = head_groups(as_trained, exclude=exclude)
    if frozen:
        print_log(
            f'Layers skipped because the model itself freezes them: {_some(frozen)}'
            f'{f", ... ({len(frozen)} in all)" if len(frozen) > SHOWN else ""}',
            logger='current',
        )
    kept_dims: dict[int, str] = {}
    passed: list[ChannelGroup] = []
    failed: list[tuple[ChannelGroup, str]] = []
    in_turn = False
    links = _trace(model, inputs, kept_dims, prunable_outputs)

    @cache
    def check() -> ValueCheck:
        return ValueCheck(
            model,
            inputs,
            forward=partial(
                fixed_outputs, partial(run_every_layer, num_rois=TRACED_ROIS), prunable_outputs
            ),
            train_forward=partial(fixed_outputs, train_forward, prunable_outputs)
            if links.trained
            else None,
        )

    def failures_of(some: Sequence[ChannelGroup]) -> dict[str, str]:
        # Rounding on another rank must not decide otherwise.
        return broadcast_from_rank0(lambda: check().failures(some))

    for choice in (*CHOICES[1:], None):
        found = unique_names(_without(heads.groups, coupled_channels(model, links)))
        skipped = {
            each.group.name: reason
            for each in found
            if (reason := _reason(each, exclude, frozen)) is not None
        }
        groups = [each.group for each in found if each.group.name not in skipped] + heads.groups
        known = {g.name: why for g in groups for old, why in failed if g.same_as(old)}
        new = [g for g in groups if g.name not in known and not any(map(g.same_as, passed))]
        failures = failures_of(new)
        failed += [(g, failures[g.name]) for g in new if g.name in failures]
        in_turn = bool(passed) and len(new) > len(failures)
        failures |= known
        passed = [group for group in groups if group.name not in failures]
        again = {
            unit
            for each in found
            if each.group.name in failures
            or (each.reason is not None and not each.reason.endswith(OUTPUT))
            for unit in each.units.tolist()
        }
        if choice is None or not again & links.split:
            break
        kept_dims.update(dict.fromkeys(again, choice))
        links = _trace(model, inputs, kept_dims, prunable_outputs)
    if in_turn:  # what passed in turn must pass together
        failures |= failures_of(passed)
    for name, why in failures.items():
        print_log(f'{name} is skipped: {why}', logger='current', level=logging.WARNING)
    skipped.update(failures)
    groups = [group for group in groups if group.name not in skipped]
    reasons = layer_reasons(found, links.used, model) | heads.skipped
    for group in (*(each.group for each in found), *heads.groups):
        if group.name in skipped:
            reasons.update(dict.fromkeys(group.layers, skipped[group.name]))
    grouped = {layer for group in groups for layer in group.layers}
    analysis = ChannelAnalysis(
        groups=groups,
        skipped={layer: reason for layer, reason in reasons.items() if layer not in grouped},
        permutation_error=broadcast_from_rank0(lambda: check().permutation_error),
    )
    if not analysis.groups:
        listed = '; '.join(f'{k}: {v}' for k, v in analysis.skipped.items()) or 'no layers'
        raise ValueError(f'no channel of the model can be pruned ({listed})')
    return analysis


def _check_patterns(model: nn.Module, **options: Sequence[str]) -> None:
    names = [name for name, _ in model.named_modules() if name]
    for option, patterns in options.items():
        for pattern in patterns:
            if not any(matches(name, [pattern]) for name in names):
                raise ValueError(
                    f'{option} pattern {pattern!r} matches no layer of the model; names look like '
                    f'{_some(n for n, m in model.named_modules() if isinstance(m, nn.Conv2d))}'
                )


def _trace(
    model: nn.Module, inputs: Tensor, kept_dims: dict[int, str], prunable_outputs: Sequence[str]
) -> Links:
    """Follow an evaluation pass and, where it leaves parameters unused, a training pass."""
    copied = copy_unwrapped(model)
    tracer = ChannelTracer(copied, kept_dims=kept_dims)

    def follow(forward: Callable[[nn.Module, Tensor], Any]) -> None:
        with tracer.tracing(), same_randomness(RandomState.seeded(0)):
            for output in fixed_outputs(forward, prunable_outputs, copied, inputs):
                tracer.fix_output(output)

    try:
        with eval_mode(copied):
            follow(partial(run_every_layer, num_rois=None))
    except Exception as error:
        raise ValueError(
            f'the model cannot be run on inputs of shape {tuple(inputs.shape)}: {error}'
        ) from error
    evaluated = set(tracer.links.used)
    if any(name not in evaluated for name, _ in copied.named_parameters()):
        try:
            follow(train_forward)
            tracer.links.trained.update(layers_not_run(copied, evaluated))
        except Exception as error:  # it needs annotations of its own, for instance
            print_log(f'The training pass is not traced: {error}', logger='current')
    return tracer.links


def _reason(each: Coupled, exclude: Sequence[str], frozen: Sequence[str]) -> str | None:
    if each.reason is not None:
        return each.reason
    for layer in each.group.layers:
        if layer in frozen:
            return f'{layer} is frozen by the model itself'
    owners = dict.fromkeys(piece.name.rpartition('.')[0] for piece in each.group.own)
    excluded = [name for name in owners if matches(name, exclude)]
    return f'{excluded[0]} is excluded' if excluded else None


def _without(heads: Sequence[ChannelGroup], found: Sequence[Coupled]) -> list[Coupled]:
    """What was traced but for the inside of attention modules, whose heads go as a whole."""
    taken = {(piece.name, piece.dim) for group in heads for piece in group.slices}
    return [
        each
        for each in found
        if taken.isdisjoint((piece.name, piece.dim) for piece in each.group.slices)
    ]


def _as_trained(model: nn.Module) -> nn.Module:
    """A copy of which everything is trainable but what setting the mode freezes again."""
    copied = copy_unwrapped(model)
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    copied.train()  # some models return nothing here
    return copied


def _frozen_layers(as_trained: nn.Module) -> list[str]:
    """Layers that the model itself freezes.

    They are skipped on purpose: a frozen layer cannot compensate for lost channels.
    """
    return [
        name
        for name, module in as_trained.named_modules()
        if isinstance(module, LAYER_TYPES) and not module.weight.requires_grad
    ]


def _some(names: Iterable[str]) -> str:
    listed = list(islice(names, SHOWN))
    return ', '.join(listed) or '(none)'
