"""The structure of a pruned model as plain data, and models that take it over without tracing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .module_sync import sync_modules
from .removed_blocks import is_inside, removed_blocks, replace_blocks

META_KEY = 'adasap_det'
"""Key of the structure in a checkpoint's ``meta`` and in the metadata of a state dict."""

FORMAT_VERSION = 2

_ATTRIBUTE = '_adasap_det_structure'

_REMEDY = 'Is this the config, or the model, that it was trained with?'


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by dotted name, shared ones under their first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The live tensors that a state dict holds, by dotted name."""
    state = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def pruned_dims(model: nn.Module) -> dict[str, list[int]]:
    """Dimensions that have lost channels since the model was built, by name of the tensor."""
    return {name: list(dims) for name, dims in _noted(model)['pruned_dims'].items()}


def kept_channels(model: nn.Module) -> dict[str, list[int]]:
    """Channels of the dense model that are left, by channel group; empty before any analysis."""
    return {name: list(channels) for name, channels in _noted(model)['kept'].items()}


def describe(model: nn.Module) -> dict[str, Any]:
    """The structure of a model as JSON-able data.

    Returns:
        ``format``, ``shapes`` (of every tensor, by name), ``pruned_dims`` (dimensions that have
        lost channels, by tensor), ``kept`` (channels of the dense model that are left, by group),
        ``dense_channels`` (how many the dense model had) and ``removed_blocks`` (their names).
    """
    return {**_mark_of(model), 'shapes': shapes_of(saved_tensors(model))}


def shapes_of(state_dict: Mapping[str, Any]) -> dict[str, list[int]]:
    """Shape of every tensor of a state dict, by name."""
    return {name: list(t.shape) for name, t in state_dict.items() if isinstance(t, Tensor)}


def marks_in(state_dict: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Structures that a state dict is marked with, by dotted name of the pruned module.

    The mark of a pruned model is in the ``_metadata`` of its ``state_dict()``, where PyTorch keeps
    the versions of modules. It lacks ``shapes``, as the tensors have them.
    """
    metadata = getattr(state_dict, '_metadata', None) or {}
    return {name: local[META_KEY] for name, local in metadata.items() if META_KEY in local}


def note_groups(model: nn.Module, sizes: Mapping[str, int]) -> None:
    """Register channel groups on the model, so that checkpoints can list them.

    The record is an attribute of the model: deep copies take it along.

    Args:
        sizes: Present number of channels, by group name. A group whose recorded channels differ
            in number is taken as dense.
    """
    noted = _noted(model)
    for name, size in sizes.items():
        if len(noted['kept'].get(name, ())) != size:
            noted['kept'][name] = list(range(size))
            noted['dense_channels'][name] = size
    _record(model, noted)


def note_pruning(
    model: nn.Module, before: Mapping[str, torch.Size], kept: Mapping[str, Sequence[int]]
) -> None:
    """Record on the model what a prune step removed.

    Args:
        model: A model some of whose tensors have just shrunk.
        before: Shapes before, by dotted name.
        kept: Channels that were kept, by group name, counted before this step.
    """
    noted = _noted(model)
    for name, channels in kept.items():
        noted['kept'][name] = [noted['kept'][name][i] for i in channels]
    old = {id(t): before[name] for name, t in named_tensors(model).items() if name in before}
    dims_of = noted['pruned_dims']
    for name, tensor in saved_tensors(model).items():
        pairs = zip(old.get(id(tensor), tensor.shape), tensor.shape, strict=True)
        dims = {dim for dim, (was, now) in enumerate(pairs) if was != now}
        if dims:
            dims_of[name] = sorted(dims.union(dims_of.get(name, ())))
    _record(model, noted)


def remove_blocks(model: nn.Module, names: Sequence[str]) -> None:
    """Replace modules by identities, in place, and forget what is recorded of their channels.

    Args:
        model: The model, or a copy of it.
        names: Dotted names of the modules.
    """
    replace_blocks(model, names)
    noted = _noted(model)
    for recorded in noted.values():
        for name in [name for name in recorded if is_inside(name, names)]:
            del recorded[name]
    _record(model, noted)


def shrink(model: nn.Module, structure: Mapping[str, Any]) -> bool:
    """Give the tensors of ``model`` the shapes of a pruned structure, in place.

    Blocks that were removed there are removed here too.

    Only the dimensions in ``pruned_dims`` are touched. Others may differ, as an output layer's
    with another number of classes, and are left to whatever loads the weights. Parameters stay
    the same objects, so that an optimizer built before stays valid. Tensors that shrink keep the
    values of their leading channels, which a checkpoint is meant to overwrite.

    Args:
        model: The dense model, or one that is pruned less.
        structure: As returned by :func:`describe`.

    Returns:
        Whether anything shrank.

    Raises:
        ValueError: If the structure has another format; or, where it is pruned, if a tensor or a
            removed block is missing on either side, or a tensor has more channels there than in
            the model. Names the tensor and both shapes.
    """
    version = structure.get('format')
    if version != FORMAT_VERSION:
        raise ValueError(
            f'the checkpoint has structure format {version!r} and this version of adasap_det reads '
            f'format {FORMAT_VERSION}; write it again with this version'
        )
    pruned = structure['pruned_dims']
    removed = structure.get('removed_blocks', ())
    if not pruned and not removed:
        return False
    new = _blocks_to_remove(model, removed)
    tensors = {n: t for n, t in saved_tensors(model).items() if not is_inside(n, new)}
    _compare_names(tensors, structure['shapes'])
    targets = _target_shapes(tensors, structure['shapes'], pruned)
    before = {name: t.shape for name, t in tensors.items()}
    remove_blocks(model, new)
    changed = False
    for name, target in targets.items():
        tensor = tensors[name]
        if target != tuple(tensor.shape):
            tensor.data = tensor.data[tuple(slice(n) for n in target)].clone()
            tensor.grad = None
            changed = True
    if changed:
        sync_modules(model, before)
        note_pruning(model, before, {})
    noted = _noted(model)
    noted['kept'] = {name: list(channels) for name, channels in structure['kept'].items()}
    noted['dense_channels'] = dict(structure['dense_channels'])
    _record(model, noted)
    return changed or bool(new)


def shrink_to_state(model: nn.Module, state_dict: Mapping[str, Any]) -> bool:
    """Shrink a model, or the parts of it that were pruned, as the marks of a state dict say.

    A mark of a module that ``model`` does not have is taken as that of the whole model: MMEngine's
    loader removes the ``module.`` of a DDP wrapper from the names, but not from the metadata.

    Returns:
        Whether anything shrank.

    Raises:
        ValueError: As :func:`~adasap_det.pruning.shrink`.
    """
    parts = dict(model.named_modules(remove_duplicate=False))
    changed = False
    for name, mark in marks_in(state_dict).items():
        prefix = f'{name}.' if name and name in parts else ''
        own = {key[len(prefix) :]: t for key, t in state_dict.items() if key.startswith(prefix)}
        changed |= shrink(parts.get(name, model), {**mark, 'shapes': shapes_of(own)})
    return changed


def check_names(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that a model and a checkpoint have the same tensors.

    Raises:
        ValueError: If either lacks one of the other's; names them.
    """
    _compare_names(saved_tensors(model), shapes)


def _compare_names(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    missing = sorted(set(tensors) - set(shapes))
    unknown = sorted(set(shapes) - set(tensors))
    if missing or unknown:
        raise ValueError(
            f'the checkpoint does not fit the model: {_names(missing, "lacks")}'
            f'{"; " if missing and unknown else ""}{_names(unknown, "has the unknown")}. '
            f'{_REMEDY}'
        )


def check_shapes(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that a model can take all weights of a checkpoint, as evaluation needs them.

    Raises:
        ValueError: If a tensor has another shape; names it and both shapes.
    """
    for name, tensor in saved_tensors(model).items():
        if tuple(shapes.get(name, tensor.shape)) != tuple(tensor.shape):
            raise ValueError(
                f'the checkpoint does not fit the model: {name} has shape {tuple(shapes[name])} '
                f'in the checkpoint and {tuple(tensor.shape)} in the model. {_REMEDY}'
            )


def _noted(model: nn.Module) -> dict[str, dict[str, Any]]:
    """A copy of what is recorded on the model."""
    found = getattr(model, _ATTRIBUTE, {})
    return {key: dict(found.get(key, {})) for key in ('pruned_dims', 'kept', 'dense_channels')}


def _record(model: nn.Module, noted: dict[str, dict[str, Any]]) -> None:
    setattr(model, _ATTRIBUTE, noted)
    if noted['pruned_dims'] or removed_blocks(model):
        # Under a key of its own: the numbers that PyTorch gives begin at 0 again in the process
        # that unpickles the model, and would replace this hook.
        model._state_dict_hooks[META_KEY] = _mark_state  # type: ignore[index]


def _mark_state(
    model: nn.Module, state_dict: Mapping[str, Any], prefix: str, local_metadata: dict[str, Any]
) -> None:
    """Hook of a pruned model: its ``state_dict()`` carries the structure.

    A function of the module, so that it can be pickled and a deep copy marks with its own
    structure. ``local_metadata`` is the model's entry in the metadata.
    """
    if hasattr(model, _ATTRIBUTE):  # a deep copy of torch.fx keeps the hooks alone
        local_metadata[META_KEY] = _mark_of(model)


def _mark_of(model: nn.Module) -> dict[str, Any]:
    return {
        'format': FORMAT_VERSION,
        'pruned_dims': pruned_dims(model),
        'kept': kept_channels(model),
        'dense_channels': _noted(model)['dense_channels'],
        'removed_blocks': removed_blocks(model),
    }


def _blocks_to_remove(model: nn.Module, removed: Sequence[str]) -> list[str]:
    """Those of the removed blocks that the model still has."""
    modules = dict(model.named_modules(remove_duplicate=False))
    missing = [name for name in removed if name not in modules]
    if missing:
        raise ValueError(
            f'the checkpoint does not fit the model: block {missing[0]} was removed there, and the '
            f'model has no such module. {_REMEDY}'
        )
    gone = removed_blocks(model)
    return [name for name in removed if name not in gone]


def _target_shapes(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    pruned: Mapping[str, Sequence[int]],
) -> dict[str, tuple[int, ...]]:
    targets = {}
    for name, tensor in tensors.items():
        dims = pruned.get(name, ())
        stored, own = tuple(shapes[name]), tuple(tensor.shape)
        if stored == own or not dims:
            continue
        if len(stored) != len(own) or not all(0 < stored[dim] <= own[dim] for dim in dims):
            raise ValueError(
                f'the checkpoint does not fit the model: {name} has shape {stored} in the '
                f'checkpoint and {own} in the model, and a pruned tensor is never larger. {_REMEDY}'
            )
        targets[name] = tuple(stored[dim] if dim in dims else n for dim, n in enumerate(own))
    return targets


def _names(names: Sequence[str], verb: str, limit: int = 3) -> str:
    if not names:
        return ''
    rest = f' and {len(names) - limit} more' if len(names) > limit else ''
    return f'it {verb} {", ".join(names[:limit])}{rest}'
