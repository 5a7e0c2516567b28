"""Sources of corrupted images: corrupted on the fly, a built or a downloaded benchmark."""

from __future__ import annotations

import atexit
import copy
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from adasap_det.robustness.benchmark.image_codec import with_suffix
from adasap_det.robustness.benchmark.journal import JOURNAL
from adasap_det.robustness.benchmark.manifest import MANIFEST, cell_root, read_manifest
from adasap_det.robustness.corruptions import CORRUPTIONS, CORRUPTIONS_VERSION
from adasap_det.robustness.evaluation.pipelines import (
    insert_after_cropping,
    insert_after_loading,
    remove_cropping,
)
from adasap_det.robustness.evaluation.subset import ImageList, benchmark_indices, list_images
from adasap_det.robustness.results import CellKey
from adasap_det.utils.config_tree import iter_datasets, type_name

DatasetConfig = dict[str, Any]

# mmpretrain's data sets with one folder per class.
_FOLDERS = ('CustomDataset', 'ImageNet')


class CellSource(Protocol):
    """Turns the config of the clean data set into that of a cell."""

    @property
    def title(self) -> str:
        """Name in results and reports."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that the images depend on, except the clean data set."""

    @property
    def imagenet_c(self) -> bool:
        """Whether it is ImageNet-C as published, or built as it was."""

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        """Return the cells that the source does not contain."""

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        """Return the config of the clean images that the corrupted ones were made from."""

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        """Return the config of a cell's images."""


class OnTheFly:
    """Corrupts images while loading them; nothing is written to disk.

    Args:
        seed: Seed of the corruptions.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    @property
    def title(self) -> str:
        return f'on the fly, seed {self.seed}'

    @property
    def fingerprint(self) -> str:
        return f'corruptions {CORRUPTIONS_VERSION} seed {self.seed}'

    @property
    def imagenet_c(self) -> bool:
        return False

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        return []

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        return copy.deepcopy(dict(dataset))

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        changed = copy.deepcopy(dict(dataset))
        for leaf in iter_datasets(changed):
            corruption = dict(
                type='CorruptImage',
                corruption=key[0],
                severity=key[1],
                seed=self.seed,
                image_id=_image_naming(leaf),
            )
            # ImageNet-C is defined on the crop, detection benchmarks on the full image.
            insert = insert_after_cropping if is_folder(leaf) else insert_after_loading
            leaf['pipeline'] = insert(leaf.get('pipeline') or [], corruption)
        return changed


class Built:
    """A benchmark built by ``tools/make_voc_c.py``.

    Args:
        folder: Folder of the benchmark.

    Raises:
        BenchmarkError: If the folder contains no benchmark or an unfinished one.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._image_lists: dict[str, ImageList] = {}

    @property
    def title(self) -> str:
        return f'benchmark {self.folder.name}, seed {self.manifest.options["seed"]}'

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()

    @property
    def imagenet_c(self) -> bool:
        return bool(self.manifest.options.get('imagenet_c'))

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        there = {(c, s) for c in self.manifest.corruptions for s in self.manifest.severities}
        return [key for key in keys if key[0] is not None and key not in there]

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        """Return the clean data set, restricted to the images of the benchmark.

        Raises:
            ValueError: If images of the benchmark are missing from it.
        """
        changed = copy.deepcopy(dict(dataset))
        key = (self.manifest.corruptions[0], self.manifest.severities[0])
        root = cell_root(self.folder, *key).absolute()
        for leaf in self._leaf(changed):
            listed = leaf.get('ann_file')
            if self.manifest.source.get('layout') == 'voc' and listed:
                leaf['ann_file'] = str(self._ann_file(root, listed))
            else:
                # The list may name files by another suffix than the benchmark's.
                self._restrict(leaf)
        return changed

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        changed = copy.deepcopy(dict(dataset))
        assert key[0] is not None
        root = cell_root(self.folder, key[0], key[1]).absolute()
        for leaf in self._leaf(changed):
            if is_folder(leaf):
                self._move_folder(leaf, root)
                continue
            if leaf.get('ann_file'):
                self._ann_file(root, leaf['ann_file'])
            self._check_prefix(root, leaf.get('data_prefix') or {})
            leaf['data_root'] = f'{root}{os.sep}'
        return changed

    def _restrict(self, leaf: DatasetConfig) -> None:
        """Restrict a data set to the images of the benchmark."""
        names = self._image_list(leaf).names
        indices = benchmark_indices(names, self.manifest.images, own=leaf.get('indices'))
        if indices is not None:
            leaf['indices'] = indices

    def _move_folder(self, leaf: DatasetConfig, root: Path) -> None:
        """Point an image folder's config to a cell.

        The labels are those of the clean data set: a part of it need not have an image of each
        class, and files may have another suffix than its list.
        """
        found, text = self._image_list(leaf), _as_text(leaf)
        if found.classes is not None:
            leaf['metainfo'] = {**(leaf.get('metainfo') or {}), 'classes': found.classes}
            leaf.pop('classes', None)
        move_folder(leaf, root, cropped=self.manifest.options.get('crop') is not None)
        path = self._list_folder / f'{hashlib.sha256(text.encode()).hexdigest()}.txt'
        if not path.exists():  # the same for every cell
            lines = [
                f'{with_suffix(name, self.manifest.options["format"])} {label}\n'
                for name, label in zip(found.names, found.labels, strict=True)
                if name in self.manifest.images
            ]
            path.write_text(''.join(lines), 'utf-8')
        leaf['ann_file'] = str(path)

    @functools.cached_property
    def _list_folder(self) -> Path:
        """Temporary folder for the lists of cells, deleted when the process exits."""
        folder = tempfile.mkdtemp(prefix='adasap_det-lists-')
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _image_list(self, leaf: DatasetConfig) -> ImageList:
        text = _as_text(leaf)
        if text not in self._image_lists:
            # Cached: reading the list of a large data set takes seconds.
            self._image_lists[text] = list_images(leaf, naming=images_folder(leaf))
        return self._image_lists[text]

    def _leaf(self, dataset: DatasetConfig) -> list[DatasetConfig]:
        found = list(iter_datasets(dataset))
        if len(found) != 1:
            raise ValueError(
                f'the test data consist of {len(found)} data sets, but the benchmark {self.folder} '
                f'was built from one; build one for each, or evaluate on the fly'
            )
        return found

    def _ann_file(self, root: Path, ann_file: str) -> Path:
        path = root / ann_file
        if os.path.isabs(ann_file) or not path.is_file():
            source = ', '.join(f'{k} {v}' for k, v in self.manifest.source.items())
            raise ValueError(
                f"the benchmark {self.folder} has no {ann_file!r}, the config's test_dataloader."
                f'dataset.ann_file; it was built from {source}: build one from the test data, or '
                f'use a config of that split with ann_file relative to data_root'
            )
        return path

    def _check_prefix(self, root: Path, prefix: Mapping[str, str] | str) -> None:
        folders = {'': prefix} if isinstance(prefix, str) else prefix
        for key, folder in folders.items():
            # An absolute path would override data_root, so that the clean images would be read.
            if os.path.isabs(folder or '') or not (root / (folder or '')).is_dir():
                raise ValueError(
                    f'the benchmark {self.folder} has no folder {folder!r} in {root}, which '
                    f'test_dataloader.dataset.data_prefix{f"[{key!r}]" if key else ""} of the '
                    f'config refers to; it must be relative to data_root and match the data that '
                    f'the benchmark was built from'
                )


class Downloaded:
    """A benchmark without a manifest, such as ImageNet-C as published (224 x 224 crops).

    Images are in ``<corruption>/<severity>/<class>/<image>``, optionally one folder deeper, such as
    ``noise/<corruption>/...``.

    Args:
        folder: Folder of the benchmark.

    Raises:
        ValueError: If it contains no folder named after a corruption.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._found = {
            name: parent / name
            for parent in (self.folder, *sorted(p for p in self.folder.glob('*') if p.is_dir()))
            for name in CORRUPTIONS
            if (parent / name / '1').is_dir() or (parent / name / '5').is_dir()
        }
        if not self._found:
            raise ValueError(
                f'{folder} is not a benchmark: it has neither a {MANIFEST} of make_voc_c.py nor '
                f'folders of corruptions, such as {self.folder / "fog" / "3"}'
            )

    @property
    def title(self) -> str:
        return f'{self.folder.name}, as downloaded'

    @property
    def fingerprint(self) -> str:
        return f'downloaded {self.folder.absolute()}'

    @property
    def imagenet_c(self) -> bool:
        return True  # with ImageNet's classes, which mCE requires

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        return [key for key in keys if key[0] is not None and not self._root(key).is_dir()]

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        return copy.deepcopy(dict(dataset))

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        changed = copy.deepcopy(dict(dataset))
        for leaf in iter_datasets(changed):
            if not is_folder(leaf):
                raise ValueError(
                    f'{self.folder} has no annotations, but the test data are of type '
                    f'{type_name(leaf)}; only image folders can be evaluated without a {MANIFEST}'
                )
            move_folder(leaf, self._root(key).absolute(), cropped=True)
        return changed

    def _root(self, key: CellKey) -> Path:
        return self._found.get(str(key[0]), self.folder / str(key[0])) / str(key[1])


def open_benchmark(folder: str | os.PathLike[str]) -> CellSource:
    """Open a benchmark that was built by ``tools/make_voc_c.py`` or downloaded.

    Raises:
        BenchmarkError, ValueError: If the folder is neither.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    built = MANIFEST in names or JOURNAL in names or not names
    return Built(folder) if built else Downloaded(folder)


def is_folder(dataset: Mapping[str, Any]) -> bool:
    """Whether it is one of mmpretrain's data sets with one folder per class."""
    return type_name(dataset) in _FOLDERS


def move_folder(leaf: DatasetConfig, root: Path, *, cropped: bool) -> None:
    """Point an image folder's config to a cell, whose subfolders are the classes.

    Args:
        leaf: Config, changed in place.
        root: Folder of the cell.
        cropped: Whether its images are already cropped and must not be resized.

    Raises:
        ValueError: If they are cropped and the pipeline uses an unknown crop.
    """
    leaf.update(ann_file='', data_root=f'{root}{os.sep}', data_prefix='')
    if 'split' in leaf:
        leaf['split'] = ''
    if cropped:
        leaf['pipeline'] = remove_cropping(leaf['pipeline'])


def _image_naming(dataset: DatasetConfig) -> str:
    """Return ``image_id`` for ``CorruptImage`` that gives the same noise as a built benchmark."""
    below_folder = is_folder(dataset) or 'Coco' in type_name(dataset)
    return images_folder(dataset) if below_folder else 'stem'


def images_folder(dataset: Mapping[str, Any]) -> str:
    """Return the folder that a data set's image names are relative to."""
    prefix = dataset.get('data_prefix') or ''
    # 'img' in MMDetection, 'img_path' in mmpretrain.
    folder = (
        prefix if isinstance(prefix, str) else prefix.get('img') or prefix.get('img_path') or ''
    )
    return _joined(dataset, folder or (is_folder(dataset) and dataset.get('split')) or '')


def _as_text(dataset: DatasetConfig) -> str:
    return json.dumps(dataset, sort_keys=True, default=str)


def split_name(dataset: Mapping[str, Any]) -> str:
    """Return the name of a test set in results.

    It is the list or annotation file or, for image folders without one, the name of the folder,
    which unlike its path is the same on every machine.
    """
    listed = dataset.get('ann_file')
    return str(listed) if listed else Path(images_folder(dataset)).name


def _joined(dataset: Mapping[str, Any], path: str) -> str:
    return os.path.join(dataset.get('data_root') or '', path)
