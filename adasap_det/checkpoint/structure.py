"""The structure of a pruned model as plain data, and models that take it over without tracing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .module_sync import sync_modules

META_KEY = 'adasap_det'
"""Key of the structure in a checkpoint's ``meta`` and in the metadata of a state dict."""

FORMAT_VERSION = 2

_ATTRIBUTE = '_adasap_det_structure'


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
        lost channels, by tensor), ``kept`` (channels of the dense model that are left, by group)
        and ``dense_channels`` (how many the dense model had).
    """
    noted = _noted(model)
    return {
        'format': FORMAT_VERSION,
        'shapes': {name: list(t.shape) for name, t in saved_tensors(model).items()},
        'pruned_dims': pruned_dims(model),
        'kept': kept_channels(model),
        'dense_channels': dict(noted['dense_channels']),
    }


def mark_pruned(state_dict: dict[str, Tensor], structure: Mapping[str, Any]) -> None:
    """Store the structure in a state dict's metadata, where PyTorch keeps module versions.

    Args:
        state_dict: Of the pruned model.
        structure: Of :func:`~adasap_det.pruning.describe`; ``shapes`` are left out, as the
            tensors have them.
    """
    metadata = getattr(state_dict, '_metadata', None)
    if metadata is None:
        metadata = OrderedDict()
        state_dict._metadata = metadata  # type: ignore[attr-defined]
    mark = {key: value for key, value in structure.items() if key != 'shapes'}
    metadata[''] = {**metadata.get('', {}), META_KEY: mark}


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
    setattr(model, _ATTRIBUTE, noted)


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
    setattr(model, _ATTRIBUTE, noted)


def shrink(model: nn.Module, structure: Mapping[str, Any]) -> bool:
    """Give the tensors of ``model`` the shapes of a pruned structure, in place.

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
        ValueError: If the structure has another format; or, where it is pruned, if a tensor is
            missing on either side or has more channels there than in the model. Names the tensor
            and both shapes.
    """
    version = structure.get('format')
    if version != FORMAT_VERSION:
        raise ValueError(
            f'the checkpoint has structure format {version!r} and this version of adasap_det reads '
            f'format {FORMAT_VERSION}; write it again with this version'
        )
    pruned = structure['pruned_dims']
    if not pruned:
        return False
    tensors = saved_tensors(model)
    targets = _target_shapes(tensors, structure['shapes'], pruned)
    before = {name: t.shape for name, t in tensors.items()}
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
    setattr(model, _ATTRIBUTE, noted)
    return changed


def check_shapes(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that a model can take all weights of a checkpoint, as evaluation needs them.

    Raises:
        ValueError: If a tensor has another shape; names it and both shapes.
    """
    for name, tensor in saved_tensors(model).items():
        if tuple(shapes.get(name, tensor.shape)) != tuple(tensor.shape):
            raise ValueError(
                f'the checkpoint does not fit the model: {name} has shape {tuple(shapes[name])} '
                f'in the checkpoint and {tuple(tensor.shape)} in the model. Is this the config it '
                f'was trained with?'
            )


def _noted(model: nn.Module) -> dict[str, dict[str, Any]]:
    """A copy of what is recorded on the model."""
    found = getattr(model, _ATTRIBUTE, {})
    return {key: dict(found.get(key, {})) for key in ('pruned_dims', 'kept', 'dense_channels')}


def _target_shapes(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    pruned: Mapping[str, Sequence[int]],
) -> dict[str, tuple[int, ...]]:
    missing = sorted(set(tensors) - set(shapes))
    unknown = sorted(set(shapes) - set(tensors))
    if missing or unknown:
        raise ValueError(
            f'the checkpoint does not fit the model: {_names(missing, "lacks")}'
            f'{"; " if missing and unknown else ""}{_names(unknown, "has the unknown")}. '
            f'Is this the config it was trained with?'
        )
    targets = {}
    for name, tensor in tensors.items():
        dims = pruned.get(name, ())
        stored, own = tuple(shapes[name]), tuple(tensor.shape)
        if stored == own or not dims:
            continue
        if len(stored) != len(own) or not all(0 < stored[dim] <= own[dim] for dim in dims):
            raise ValueError(
                f'the checkpoint does not fit the model: {name} has shape {stored} in the '
                f'checkpoint and {own} in the model, and a pruned tensor is never larger. '
                f'Is this the config it was trained with?'
            )
        targets[name] = tuple(stored[dim] if dim in dims else n for dim, n in enumerate(own))
    return targets


def _names(names: Sequence[str], verb: str, limit: int = 3) -> str:
    if not names:
        return ''
    rest = f' and {len(names) - limit} more' if len(names) > limit else ''
    return f'it {verb} {", ".join(names[:limit])}{rest}'
