"""Check that a config's data files exist, before anything is built.

MMEngine finds a missing folder only when it builds the data set, deep in a traceback of registries.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from adasap_det.utils.config_tree import iter_datasets, type_name
from adasap_det.utils.missing_data_error import MissingDataError

# How to get the data, by type of data set.
_REMEDIES = {
    'VOCDataset': "download it with 'python tools/prepare_voc.py' (outside a checkout: "
    "'python -m adasap_det.datasets.prepare_voc'), or set data_root in the config",
}
_REMEDY = 'put the data there, or set data_root in the config'


def check_data(cfg: Mapping[str, Any], *, stages: Sequence[str] = ('train', 'val', 'test')) -> None:
    """Check that the folders and annotation files of a config's data sets exist.

    Checks ``<stage>_dataloader.dataset``, inside any wrappers, and the ``ann_file`` of
    ``<stage>_evaluator``. Remote storage is not checked.

    Args:
        cfg: Full config.
        stages: Stages that are going to run.

    Raises:
        MissingDataError: With the first missing path, and how to get it.
    """
    for stage in stages:
        loader = cfg.get(f'{stage}_dataloader') or {}
        for dataset in iter_datasets(loader.get('dataset')):
            _check_dataset(dataset, stage)
        for evaluator in _as_list(cfg.get(f'{stage}_evaluator')):
            if isinstance(evaluator, Mapping) and isinstance(evaluator.get('ann_file'), str):
                _require(evaluator['ann_file'], f'{stage} evaluator', 'ann_file', _REMEDY)


def _check_dataset(dataset: Mapping[str, Any], stage: str) -> None:
    if _is_remote(dataset):
        return
    name = type_name(dataset) or 'data set'
    remedy = _REMEDIES.get(name, _REMEDY)
    what = f'{stage} data ({name})'
    root = dataset.get('data_root') or ''
    # Outermost first: a missing data_root is more informative than a missing file in it.
    if root:
        _require(root, what, 'data_root', remedy)
    prefix = dataset.get('data_prefix') or {}
    for key, value in prefix.items() if isinstance(prefix, Mapping) else [('data_prefix', prefix)]:
        if isinstance(value, str) and value:
            _require(os.path.join(root, value), what, key, remedy)
    ann_file = dataset.get('ann_file')
    if isinstance(ann_file, str) and ann_file:
        _require(os.path.join(root, ann_file), what, 'ann_file', remedy)


def _require(path: str, what: str, key: str, remedy: str) -> None:
    if '://' not in path and not os.path.exists(path):
        raise MissingDataError(
            f'{what}: {key} {path!r} does not exist (looked for {os.path.abspath(path)}); {remedy}'
        )


def _is_remote(dataset: Mapping[str, Any]) -> bool:
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return backend not in ('local', 'atomic')


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
