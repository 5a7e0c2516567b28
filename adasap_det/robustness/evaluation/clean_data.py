"""Check that the clean test data are those that a benchmark was built from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any

from mmengine import fileio
from mmengine.registry import DATASETS

from adasap_det.robustness.evaluation.cell_data import Built, images_folder
from adasap_det.robustness.transforms import image_name
from adasap_det.utils.config_tree import iter_datasets


def check_clean_data(built: Built, dataset: Mapping[str, Any]) -> None:
    """Compare the clean images and annotations with those that a benchmark was built from.

    Images are compared by their SHA-256 in the manifest, annotations with those of the benchmark's
    first cell. No image is decoded.

    Args:
        built: The benchmark.
        dataset: Config of the clean data set.

    Raises:
        ValueError: If an image or annotation differs; it names the first such file.
    """
    (leaf,) = iter_datasets(dict(dataset))
    first = (built.manifest.corruptions[0], built.manifest.severities[0])
    clean, cell = _entries(built.clean(dataset)), _entries(built.cell(dataset, first))
    nothing: dict[str, Any] = {}
    for ours, theirs in zip_longest(clean, cell, fillvalue=nothing):
        if any(ours.get(key) != theirs.get(key) for key in ('instances', 'gt_label')):
            listed = os.path.join(leaf.get('data_root') or '', leaf.get('ann_file') or '')
            raise _changed(ours.get('xml_path') or listed, built)
    naming = 'img_id' if built.manifest.source['layout'] == 'voc' else images_folder(leaf)
    paths = [entry['img_path'] for entry in clean]
    with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
        for entry, found in zip(clean, pool.map(_sha256, paths), strict=True):
            if found != built.manifest.images[image_name(entry, naming)]:
                raise _changed(entry['img_path'], built)


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
