"""Check that the clean test data are those that a benchmark was built from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.registry import DATASETS

from adasap_det.robustness.evaluation.cell_data import Built, images_folder
from adasap_det.robustness.transforms import image_name
from adasap_det.utils.config_tree import iter_datasets
from adasap_det.utils.io import atomic_write
from adasap_det.utils.plural import counted


def check_clean_data(
    built: Built,
    dataset: Mapping[str, Any],
    *,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Compare the clean images and annotations with those that a benchmark was built from.

    Images are compared by their SHA-256 in the manifest, annotations with those of the benchmark's
    first cell. No image is decoded.

    Args:
        built: The benchmark.
        dataset: Config of the clean data set.
        cache: JSON file with the size, modification time and SHA-256 of images. Images that have
            the same size and time are not read again. Written if it lacks an image.
        say: Called with a message if images are read.

    Raises:
        ValueError: If an image or annotation differs; it names the first such file.
    """
    (leaf,) = iter_datasets(dict(dataset))
    first = (built.manifest.corruptions[0], built.manifest.severities[0])
    clean, cell = _entries(built.clean(dataset)), _entries(built.cell(dataset, first))
    nothing: dict[str, Any] = {}
    for ours, theirs in zip_longest(clean, cell, fillvalue=nothing):
        same_labels = np.array_equal(ours.get('gt_label'), theirs.get('gt_label'))  # type: ignore[arg-type]
        if not same_labels or ours.get('instances') != theirs.get('instances'):
            listed = os.path.join(leaf.get('data_root') or '', leaf.get('ann_file') or '')
            raise _changed(ours.get('xml_path') or listed, built)
    naming = 'img_id' if built.manifest.source['layout'] == 'voc' else images_folder(leaf)
    digests = _digests([entry['img_path'] for entry in clean], cache, say)
    for entry, found in zip(clean, digests, strict=True):
        if found != built.manifest.images[image_name(entry, naming)]:
            raise _changed(entry['img_path'], built)


def _digests(
    paths: Sequence[str], cache: Path | None, say: Callable[[str], None]
) -> list[str | None]:
    """Return the SHA-256 of each file; None if it cannot be read."""
    states = {path: _state(path) for path in paths}
    known = {} if cache is None else _load(cache)
    # Files that have no state, such as those of an object store, are always read.
    valid = {
        path: known[path][2]
        for path, state in states.items()
        if state is not None and path in known and known[path][:2] == state
    }
    unread = [path for path in states if path not in valid]
    if unread:
        say(
            f'comparing {counted(len(unread), "clean image")} with those that the benchmark was '
            'built from'
        )
    with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
        found = dict(zip(unread, pool.map(_sha256, unread), strict=True))
    all_found: dict[str, str | None] = {**valid, **found}
    if unread and cache is not None:
        entries = {
            path: [*state, all_found[path]]
            for path, state in states.items()
            if state is not None and all_found[path] is not None
        }
        with atomic_write(cache) as temporary:
            temporary.write_text(json.dumps(entries), 'utf-8')
    return [all_found[path] for path in paths]


def _state(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _load(cache: Path) -> dict[str, list[Any]]:
    try:
        entries: dict[str, list[Any]] = json.loads(cache.read_text('utf-8'))
    except (OSError, ValueError):  # none yet, or to be replaced
        return {}
    return entries


def _entries(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    (leaf,) = iter_datasets(dict(dataset))
    loaded = DATASETS.build({**leaf, 'pipeline': []})  # loads no image
    return [loaded.get_data_info(index) for index in range(len(loaded))]


def _sha256(path: str) -> str | None:
    try:
        return hashlib.sha256(fileio.get(path)).hexdigest()
    except OSError:
        return None


def _changed(path: str, built: Built) -> ValueError:
    return ValueError(
        f'{path} is not the file that the benchmark {built.folder} was built from; restore it, or '
        'build the benchmark again from the present data with --overwrite'
    )
