"""The one loader: models from configs, and the structure and weights of their checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint, load_state_dict
from torch import nn

from adasap_det.utils.io import atomic_write

from .structure import META_KEY, check_shapes, describe, mark_pruned, shrink


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
        checkpoint: Content of the file; without a structure in ``meta`` nothing is done.
        copies: Models of the same structure, for instance averaged ones, which shrink too.
        strict: Whether every tensor must fit afterwards, as evaluation needs it. In training an
            output layer may have another number of classes.

    Returns:
        Whether anything shrank.

    Raises:
        ValueError: If the checkpoint does not fit; see :func:`~adasap_det.pruning.shrink`.
    """
    structure = (checkpoint.get('meta') or {}).get(META_KEY)
    if structure is None:
        return False
    changed = shrink(model, structure)
    for each in copies:
        shrink(each, structure)
    if strict:
        check_shapes(model, structure['shapes'])
    return changed


def load_model(cfg: Config, checkpoint: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model and load its weights, on the CPU and in evaluation mode.

    Args:
        cfg: Whole config.
        checkpoint: File or address; averaged weights (EMA) in it are ignored.

    Returns:
        The model and the checkpoint's ``meta``.

    Raises:
        ValueError: If a weight of the model is missing in the checkpoint, or has another shape in
            one that this package wrote.
    """
    model = build_model(cfg)
    content = _load_checkpoint(str(checkpoint), map_location='cpu')
    state = content.get('state_dict', content)
    meta = content.get('meta') or {}
    load_structure(model, content, strict=True)
    missing = sorted(set(model.state_dict()) - set(state))
    if missing:
        raise ValueError(
            f'checkpoint {checkpoint} lacks {missing[0]!r} (and {len(missing) - 1} more) of the '
            f'model; is this the config it was trained with?'
        )
    load_state_dict(model, state, strict=False)
    model.cfg = cfg
    if 'dataset_meta' in meta:
        model.dataset_meta = meta['dataset_meta']
    return model.eval(), meta


def save_pruned(path: Path, model: nn.Module, *, meta: dict[str, Any]) -> None:
    """Write a pruned checkpoint as training would, without what only resuming needs.

    Args:
        path: File, written atomically.
        model: The pruned model.
        meta: Of the checkpoint that it was pruned from.
    """
    structure = describe(model)
    state = model.state_dict()
    mark_pruned(state, structure)
    kept = {key: meta[key] for key in ('dataset_meta', 'cfg', 'mmengine_version') if key in meta}
    with atomic_write(path) as temporary:
        torch.save({'state_dict': state, 'meta': {**kept, META_KEY: structure}}, temporary)
