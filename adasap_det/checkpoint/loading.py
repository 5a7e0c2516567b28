"""A trained model from its config and checkpoint, dense or pruned."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint, load_state_dict
from torch import nn

from adasap_det.checkpoint.structure import META_KEY, check_shapes, mark_pruned, pruned_dims, shrink
from adasap_det.utils.io import atomic_write


def build_model(cfg: Config) -> nn.Module:
    """Build a config's model as MMEngine's Runner does, weights as initialised.

    ``data_preprocessor`` may stand beside the model in the config, as mmpretrain's does: without
    it a classifier gets images that nobody has normalised.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    return MODELS.build(model)


def load_model(cfg: Config, checkpoint: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model and load its weights, on the CPU and in evaluation mode.

    Args:
        cfg: Whole config.
        checkpoint: File or address; an averaged copy (EMA) in it is not looked at.

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
    if META_KEY in meta:
        structure = meta[META_KEY]
        shrink(model, structure['shapes'], cut=structure.get('cut'))
        check_shapes(model, structure['shapes'])
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


def save_pruned(
    path: Path, model: nn.Module, *, meta: dict[str, Any], structure: dict[str, Any]
) -> None:
    """Write a pruned checkpoint as training would, without what only a resume needs.

    Args:
        path: File; there only once it is whole.
        model: The pruned model.
        meta: Of the checkpoint that it comes from.
        structure: See :func:`~adasap_det.pruning.describe`.
    """
    state = model.state_dict()
    mark_pruned(state, cut=pruned_dims(model) or None)
    kept = {key: meta[key] for key in ('dataset_meta', 'cfg', 'mmengine_version') if key in meta}
    with atomic_write(path) as temporary:
        torch.save({'state_dict': state, 'meta': {**kept, META_KEY: structure}}, temporary)
