"""Find the channel groups of a model: traced through its forward passes, then checked by value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
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
    noting_mixed,
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
            cannot be run on ``example_inputs`` or returns outputs of other shapes when it is
            called again, or nothing can be pruned.
    """
    if not any(parameter.dim() > 1 for parameter in model.parameters()):
        raise ValueError(
            'the model has no layer to prune: it has no weight of 2 or more dimensions'
        )
    _check_patterns(model, exclude=exclude, prunable_outputs=prunable_outputs)
    inputs = like_parameters(example_inputs[:1], model)
    as_trained = _as_trained(model)
    frozen = _frozen_layers(as_trained)
    if frozen:
        print_log(
            f'Layers skipped because the model itself freezes them: {_some(frozen)}'
            f'{f", ... ({len(frozen)} in all)" if len(frozen) > SHOWN else ""}',
            logger='current',
        )
    heads = head_groups(as_trained, exclude=exclude)
    print_log('Tracing the channels of the model', logger='current')
    links = _trace(model, inputs, {}, prunable_outputs)
    checks = _Checks(model, inputs, links, prunable_outputs)

    def candidates(links: Links) -> _Candidates:
        found = unique_names(_without(heads.groups, coupled_channels(model, links)))
        reasons = {each.group.name: _reason(each, exclude, frozen) for each in found}
        return _Candidates(found, {name: why for name, why in reasons.items() if why is not None})

    def failing(links: Links, current: _Candidates) -> dict[str, str]:
        return checks.failures(noting_mixed(current.groups + heads.groups, links))

    current = candidates(links)
    failures = failing(links, current)
    kept_dims: dict[int, str] = {}
    for choice in CHOICES[1:]:
        again = current.units_to_retry(failures)
        if not again & links.split:
            break
        print_log('Tracing again, with other parts of what was skipped', logger='current')
        kept_dims.update(dict.fromkeys(again, choice))
        links = _trace(model, inputs, kept_dims, prunable_outputs)
        current = candidates(links)
        failures = failing(links, current)
    failures |= checks.failures_together()
    for name, why in failures.items():
        print_log(f'{name} is skipped: {why}', logger='current', level=logging.WARNING)
    analysis = _analysis(model, links, current, heads, failures)
    names = {group.name for group in analysis.groups}
    approximate = {name: why for name, why in checks.approximate().items() if name in names}
    return replace(
        analysis,
        groups=noting_mixed(analysis.groups, links),
        permutation_error=checks.permutation_error(),
        approximate=approximate,
    )


@dataclass(frozen=True)
class _Candidates:
    """What a trace has found.

    Attributes:
        found: All coupled channels.
        skipped: Reason by name of those that cannot be removed or are left out.
    """

    found: list[Coupled]
    skipped: dict[str, str]

    @property
    def groups(self) -> list[ChannelGroup]:
        return [each.group for each in self.found if each.group.name not in self.skipped]

    def units_to_retry(self, failures: Mapping[str, str]) -> set[int]:
        """Units that another trace may relate otherwise: not those of outputs."""
        return {
            unit
            for each in self.found
            if each.group.name in failures
            or (each.reason is not None and not each.reason.endswith(OUTPUT))
            for unit in each.units.tolist()
        }


class _Checks:
    """Checks the groups of one trace after the other by value, each group once."""

    def __init__(
        self, model: nn.Module, inputs: Tensor, links: Links, prunable_outputs: Sequence[str]
    ) -> None:
        forward = partial(run_every_layer, num_rois=TRACED_ROIS)
        self._make = lambda: ValueCheck(
            model,
            inputs,
            forward=partial(fixed_outputs, forward, prunable_outputs),
            train_forward=partial(fixed_outputs, train_forward, prunable_outputs)
            if links.trained
            else None,
        )
        self._passed: list[ChannelGroup] = []
        self._failed: list[tuple[ChannelGroup, str]] = []
        self._in_turn = False

    @cached_property
    def _check(self) -> ValueCheck:
        return self._make()

    def failures(self, groups: Sequence[ChannelGroup]) -> dict[str, str]:
        """Reason by name of each group that fails; those of an earlier trace are known."""
        known = {g.name: why for g in groups for old, why in self._failed if g.same_as(old)}
        new = [g for g in groups if g.name not in known and not any(map(g.same_as, self._passed))]
        # Rounding on another rank must not decide otherwise.
        failures = broadcast_from_rank0(lambda: self._check.failures(new))
        self._failed += [(g, failures[g.name]) for g in new if g.name in failures]
        self._in_turn = bool(self._passed) and len(new) > len(failures)
        failures |= known
        self._passed = [group for group in groups if group.name not in failures]
        return failures

    def permutation_error(self) -> float:
        """Largest difference that channels in another order made where they passed."""
        return broadcast_from_rank0(lambda: self._check.permutation_error)

    def approximate(self) -> dict[str, str]:
        """Reason by name of each group whose zeros make another difference than their removal."""
        return broadcast_from_rank0(lambda: self._check.approximate)

    def failures_together(self) -> dict[str, str]:
        """The same for those that have passed, which must pass together as well."""
        if not self._in_turn:
            return {}
        passed = self._passed
        return broadcast_from_rank0(lambda: self._check.failures(passed, alone=False))


def _analysis(
    model: nn.Module,
    links: Links,
    candidates: _Candidates,
    heads: ChannelAnalysis,
    failures: Mapping[str, str],
) -> ChannelAnalysis:
    """The groups that have passed, and the reason for every other layer."""
    skipped = {**candidates.skipped, **failures}
    every = [each.group for each in candidates.found] + heads.groups
    groups = [group for group in every if group.name not in skipped]
    grouped = {layer for group in groups for layer in group.layers}
    reasons = layer_reasons(candidates.found, links.used, model) | heads.skipped
    for group in every:
        if group.name in skipped:
            reasons.update(dict.fromkeys(group.layers, skipped[group.name]))
    reasons = {layer: reason for layer, reason in reasons.items() if layer not in grouped}
    if not groups:
        listed = '; '.join(f'{k}: {v}' for k, v in reasons.items()) or 'no layers'
        raise ValueError(f'no channel of the model can be pruned ({listed})')
    return ChannelAnalysis(groups=groups, skipped=reasons)


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

    def follow(forward: Callable[[nn.Module, Tensor], Any], *, random: bool = False) -> None:
        with tracer.tracing(random=random), same_randomness(RandomState.seeded(0)):
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
            follow(train_forward, random=True)
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
