"""The one loader: models from configs, and the structure and weights of their checkpoints."""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint, load_state_dict
from torch import nn

from adasap_det.utils.io import atomic_write

from .elastic_file import choose_size
from .safetensors_file import read_safetensors
from .structure import (
    META_KEY,
    check_names,
    check_shapes,
    describe,
    marks_in,
    shapes_of,
    shrink_to_state,
)

_WRAPPERS = re.compile(r'(?:(?:module|_orig_mod)\.)+')
"""Names that DDP, averaged models and ``torch.compile`` put before those of the model."""


def load_pruned(
    model: nn.Module | Config | str | Path,
    source: str | Path | Mapping[str, Any],
    *,
    strict: bool = True,
    keep_ratio: float | None = None,
    macs_ratio: float | None = None,
    latency_ratio: float | None = None,
) -> nn.Module:
    """Load the weights of a pruned model into the dense one, which shrinks to its structure.

    Works for any ``nn.Module``; no tracing is needed. Parameters stay the same objects, with
    smaller data. A dense state dict loads as with PyTorch::

        torch.save(pruned_model.state_dict(), 'pruned.pth')
        model = load_pruned(resnet18(num_classes=10), 'pruned.pth')

    From a file with all sizes, which :func:`~adasap_det.pruning.save_elastic` and ``adasap-prune
    --elastic`` write, any of them is taken::

        model = load_pruned(resnet18(num_classes=10), 'sizes.pth', keep_ratio=0.35)

    Args:
        model: The dense model, or one that is pruned less, without a wrapper such as DDP. Or the
            config of one, or its file: the model is built, and is in evaluation mode.
        source: A state dict, or a checkpoint that has one under ``state_dict``: a mapping, a file
            of ``torch.save``, which is read with ``weights_only=True``, or a safetensors file with
            the metadata of ``structure_metadata(model)``. May be that of a wrapper of the model:
            DDP, an averaged model or ``torch.compile``.
        strict: Whether every tensor must fit. Otherwise tensors that differ in dimensions that
            were not pruned, as an output layer with another number of classes, are logged and
            stay as they are. A pruned tensor must fit in any case.
        keep_ratio: Ratio of the whole network's parameters that the size has at most, in (0, 1].
            Without a ratio a file with all sizes gives the whole network.
        macs_ratio: The same, of the MACs.
        latency_ratio: The same, of the latency, in a file written with a latency budget.

    Returns:
        ``model``.

    Raises:
        ValueError: If the state dict does not fit the model; names the tensor and both shapes, and
            says so if the state dict has no mark of a pruned model. If the file has no sizes to
            choose from, or none as small as the ratio.
        ImportError: If the file is of safetensors and the package is missing.
    """
    content = choose_size(
        _read(source), keep_ratio=keep_ratio, macs_ratio=macs_ratio, latency_ratio=latency_ratio
    )
    if not isinstance(model, nn.Module):
        cfg = model if isinstance(model, Config) else Config.fromfile(model)
        model = _with_config(build_model(cfg), cfg, content.get('meta') or {})
    state = _state_of(model, content)
    shrink_to_state(model, state)
    if strict:
        _check_fit(model, state)
    load_state_dict(model, state, strict=strict)
    return model


def build_model(cfg: Config) -> nn.Module:
    """Build a config's model as MMEngine's Runner does, weights as initialised.

    ``data_preprocessor`` may stand beside the model in the config, as mmpretrain's does; without
    it a classifier would get images that are not normalised.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    return MODELS.build(model)


def load_structure(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    *,
    copies: tuple[nn.Module, ...] | list[nn.Module] = (),
    strict: bool = False,
) -> bool:
    """Shrink a model to the structure of a checkpoint, before its weights are loaded.

    Args:
        model: The model of the checkpoint's config.
        checkpoint: Content of the file; without a structure in ``meta`` or in the metadata of the
            state dict nothing is done.
        copies: Models of the same structure, for instance averaged ones, which shrink too.
        strict: Whether every tensor must fit afterwards, as evaluation needs it. In training an
            output layer may have another number of classes.

    Returns:
        Whether anything shrank.

    Raises:
        ValueError: If the checkpoint does not fit; see :func:`~adasap_det.pruning.shrink`.
    """
    state = _state_of(model, checkpoint)
    if not marks_in(state):
        return False
    changed = shrink_to_state(model, state)
    for each in copies:
        shrink_to_state(each, state)
    if strict:
        check_shapes(model, shapes_of(state))
    return changed


def load_model(cfg: Config, checkpoint: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model and load its weights, on the CPU and in evaluation mode.

    Args:
        cfg: Whole config.
        checkpoint: File or address; averaged weights (EMA) in it are ignored.

    Returns:
        The model and the checkpoint's ``meta``.

    Raises:
        ValueError: If a weight of the model is missing in the checkpoint or has another shape.
    """
    model = build_model(cfg)
    content = _load_checkpoint(str(checkpoint), map_location='cpu')
    state = _state_of(model, content)
    meta = content.get('meta') or {}
    shrink_to_state(model, state)
    check_shapes(model, shapes_of(state))
    missing = sorted(set(model.state_dict()) - set(state))
    if missing:
        raise ValueError(
            f'checkpoint {checkpoint} lacks {missing[0]!r} (and {len(missing) - 1} more) of the '
            f'model; is this the config it was trained with?'
        )
    load_state_dict(model, state, strict=False)
    return _with_config(model, cfg, meta), meta


def _with_config(model: nn.Module, cfg: Config, meta: Mapping[str, Any]) -> nn.Module:
    """The model in evaluation mode, with the config and classes that MMEngine's inferencers use."""
    model.cfg = cfg
    if 'dataset_meta' in meta:
        model.dataset_meta = meta['dataset_meta']
    return model.eval()


def save_pruned(path: Path, model: nn.Module, *, meta: dict[str, Any]) -> None:
    """Write a pruned checkpoint as training would, without what only resuming needs.

    Args:
        path: File, written atomically.
        model: The pruned model.
        meta: Of the checkpoint that it was pruned from.
    """
    with atomic_write(path) as temporary:
        torch.save(checkpoint_of(model, meta), temporary)


def checkpoint_of(model: nn.Module, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`save_pruned` writes."""
    kept: dict[str, Any] = {META_KEY: describe(model)}
    kept.update((k, meta[k]) for k in ('dataset_meta', 'cfg', 'mmengine_version') if k in meta)
    return {'state_dict': model.state_dict(), 'meta': kept}


def _read(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    if Path(source).suffix == '.safetensors':
        return read_safetensors(source)
    return torch.load(source, map_location='cpu', weights_only=True)


def _state_of(model: nn.Module, content: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict of a checkpoint, with its mark and without the names of wrappers."""
    source = content.get('state_dict', content)
    wrapper = ''
    if not set(source).intersection(model.state_dict()):
        wrapper = next((m[0] for m in map(_WRAPPERS.match, source) if m), '')
    state = OrderedDict(
        (name[len(wrapper) :], t) for name, t in source.items() if name.startswith(wrapper)
    )
    metadata: dict[str, dict[str, Any]] = OrderedDict(
        (f'{name}.'[len(wrapper) : -1] if wrapper else name, local)
        for name, local in (getattr(source, '_metadata', None) or {}).items()
        if f'{name}.'.startswith(wrapper)
    )
    state._metadata = metadata  # type: ignore[attr-defined]
    structure = (content.get('meta') or {}).get(META_KEY)
    if structure is not None and not marks_in(state):
        metadata[''] = {**metadata.get('', {}), META_KEY: structure}
    return state


def _check_fit(model: nn.Module, state: Mapping[str, Any]) -> None:
    shapes = shapes_of(state)
    try:
        check_names(model, shapes)
        check_shapes(model, shapes)
    except ValueError as error:
        if marks_in(state):
            raise
        raise ValueError(
            f'{error} If it is of a pruned model: it has no mark of one. The mark is in what '
            f'model.state_dict() returns, and a copy of its items into a new dict loses it'
        ) from None
