"""Digest of the lists and annotations of a data set that results depend on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adasap_det.robustness.evaluation.cell_data import images_folder, is_folder
from adasap_det.utils.config_tree import iter_datasets, type_name


def data_digest(dataset: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the lists and annotations of a data set, in hexadecimal.

    For image folders without a list, the file names are hashed. Images are not read, and files
    that are not on a local disk are skipped.

    Args:
        dataset: Config of a data set or of a wrapper around data sets.
    """
    digest = hashlib.sha256()
    for leaf in iter_datasets(dict(dataset)):
        for part in _parts(leaf):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _parts(leaf: Mapping[str, Any]) -> Iterator[bytes]:
    root = Path(leaf.get('data_root') or '')
    listed = _list_file(leaf, root)
    if listed is not None and listed.is_file():
        data = listed.read_bytes()
        yield data
        if listed.suffix == '.txt' and not is_folder(leaf):
            yield from _voc_annotations(leaf, root, data.decode('utf-8', 'replace').splitlines())
    elif is_folder(leaf):
        images = images_folder(leaf)
        for folder, subfolders, files in os.walk(images, followlinks=True):
            subfolders.sort()
            yield os.path.relpath(folder, images).encode()
            yield '\n'.join(sorted(files)).encode()


def _list_file(leaf: Mapping[str, Any], root: Path) -> Path | None:
    ann_file = leaf.get('ann_file')
    if isinstance(ann_file, str) and ann_file:
        return root / ann_file
    # mmpretrain reads the labels of a flat folder from here.
    split = root / 'meta' / f'{leaf.get("split")}.txt'
    return split if type_name(leaf) == 'ImageNet' and split.is_file() else None


def _voc_annotations(leaf: Mapping[str, Any], root: Path, names: list[str]) -> Iterator[bytes]:
    prefix = leaf.get('data_prefix') or {}
    inside = prefix.get('sub_data_root', '') if isinstance(prefix, Mapping) else ''
    folder = root / inside / leaf.get('ann_subdir', 'Annotations')
    for name in names:
        path = folder / f'{name.strip()}.xml'
        yield path.read_bytes() if path.is_file() else b''
