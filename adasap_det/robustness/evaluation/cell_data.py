"""Where corrupted images come from: made on the fly, or a benchmark that was built."""

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
    after_cropping,
    after_loading,
    without_cropping,
)
from adasap_det.robustness.evaluation.subset import Listing, kept_indices, listing
from adasap_det.robustness.results import CellKey
from adasap_det.utils.config_tree import iter_datasets, type_name

DatasetConfig = dict[str, Any]

# mmpretrain's data sets of a folder a class.
_FOLDERS = ('CustomDataset', 'ImageNet')


class CellSource(Protocol):
    """Turns the config of a data set into that of a cell."""

    @property
    def title(self) -> str:
        """As results and reports call it."""

    @property
    def fingerprint(self) -> str:
        """Of all that the images depend on, besides the clean data set."""

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        """The cells that it has not."""

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        """The clean images that the corrupted ones were made of."""

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        """The images of a cell."""


class OnTheFly:
    """Corrupts while loading; nothing on disk.

    Args:
        seed: Of the benchmark.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    @property
    def title(self) -> str:
        return f'on the fly, seed {self.seed}'

    @property
    def fingerprint(self) -> str:
        return f'corruptions {CORRUPTIONS_VERSION} seed {self.seed}'

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
                image_id=_naming(leaf),
            )
            # ImageNet-C is defined on the crop, detection's benchmarks on the whole image.
            place = after_cropping if is_folder(leaf) else after_loading
            leaf['pipeline'] = place(leaf.get('pipeline') or [], corruption)
        return changed


class Built:
    """A benchmark that ``tools/make_voc_c.py`` built.

    Args:
        folder: Of the benchmark.

    Raises:
        BenchmarkError: If there is none, or it is not finished.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._listings: dict[str, Listing] = {}

    @property
    def title(self) -> str:
        return f'benchmark {self.folder.name}, seed {self.manifest.options["seed"]}'

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        there = {(c, s) for c in self.manifest.corruptions for s in self.manifest.severities}
        return [key for key in keys if key[0] is not None and key not in there]

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        """The clean data set, but only the benchmark's images, which may be a part of it.

        Raises:
            ValueError: If it lacks some of them.
        """
        changed = copy.deepcopy(dict(dataset))
        key = (self.manifest.corruptions[0], self.manifest.severities[0])
        root = cell_root(self.folder, *key).absolute()
        for leaf in self._leaf(changed):
            listed = leaf.get('ann_file')
            if self.manifest.source.get('layout') == 'voc' and listed:
                leaf['ann_file'] = str(self._listed(root, listed))
            else:
                # Their lists name files, which may have another suffix in the benchmark.
                self._keep(leaf)
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
                self._listed(root, leaf['ann_file'])
            self._check_prefix(root, leaf.get('data_prefix') or {})
            leaf['data_root'] = f'{root}{os.sep}'
        return changed

    def _keep(self, leaf: DatasetConfig) -> None:
        """Leave of a data set the benchmark's images."""
        names = self._listing(leaf).names
        kept = kept_indices(names, self.manifest.images, own=leaf.get('indices'))
        if kept is not None:
            leaf['indices'] = kept

    def _move_folder(self, leaf: DatasetConfig, root: Path) -> None:
        """Point an image folder's config to a cell.

        The labels are those of the clean data set: a part of it need not have an image of each
        class, and files may have another suffix than its list.
        """
        found, text = self._listing(leaf), _as_text(leaf)
        if found.classes is not None:
            leaf['metainfo'] = {**(leaf.get('metainfo') or {}), 'classes': found.classes}
            leaf.pop('classes', None)
        move_folder(leaf, root, cropped=self.manifest.options.get('crop') is not None)
        path = self._lists / f'{hashlib.sha256(text.encode()).hexdigest()}.txt'
        if not path.exists():  # it is the same in each cell
            lines = [
                f'{with_suffix(name, self.manifest.options["format"])} {label}\n'
                for name, label in zip(found.names, found.labels, strict=True)
                if name in self.manifest.images
            ]
            path.write_text(''.join(lines), 'utf-8')
        leaf['ann_file'] = str(path)

    @functools.cached_property
    def _lists(self) -> Path:
        """A folder for lists of cells; it goes with the process."""
        folder = tempfile.mkdtemp(prefix='adasap_det-lists-')
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _listing(self, leaf: DatasetConfig) -> Listing:
        text = _as_text(leaf)
        if text not in self._listings:
            # Reading the list of a large data set takes seconds, and it is asked for anew.
            self._listings[text] = listing(leaf, naming=images_folder(leaf))
        return self._listings[text]

    def _leaf(self, dataset: DatasetConfig) -> list[DatasetConfig]:
        found = list(iter_datasets(dataset))
        if len(found) != 1:
            raise ValueError(
                f'the test data are {len(found)} data sets, and the benchmark {self.folder} was '
                f'built from one; build one of each, or evaluate on the fly'
            )
        return found

    def _listed(self, root: Path, ann_file: str) -> Path:
        path = root / ann_file
        if os.path.isabs(ann_file) or not path.is_file():
            source = ', '.join(f'{k} {v}' for k, v in self.manifest.source.items())
            raise ValueError(
                f"the benchmark {self.folder} has no {ann_file!r}, the config's test_dataloader."
                f'dataset.ann_file; it was built from {source}: build one from the test data, or '
                f'take a config whose ann_file is relative to data_root and of that split'
            )
        return path

    def _check_prefix(self, root: Path, prefix: Mapping[str, str] | str) -> None:
        folders = {'': prefix} if isinstance(prefix, str) else prefix
        for key, folder in folders.items():
            # An absolute one would win over data_root, and the clean images be read.
            if os.path.isabs(folder or '') or not (root / (folder or '')).is_dir():
                raise ValueError(
                    f'the benchmark {self.folder} has no folder {folder!r} in {root}, which '
                    f'test_dataloader.dataset.data_prefix{f"[{key!r}]" if key else ""} of the '
                    f'config names; it must be relative to data_root, and that of the data which '
                    f'the benchmark was built from'
                )


class Downloaded:
    """Folders ``<corruption>/<severity>/<class>/<image>`` without a manifest: ImageNet-C as it is
    published, 224 x 224 crops. Its archives may lie in folders of their own, such as ``noise``.

    Args:
        folder: Of the benchmark.

    Raises:
        ValueError: If it holds no corruption's folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._found = {
            name: place / name
            for place in (self.folder, *sorted(p for p in self.folder.glob('*') if p.is_dir()))
            for name in CORRUPTIONS
            if (place / name / '1').is_dir() or (place / name / '5').is_dir()
        }
        if not self._found:
            raise ValueError(
                f'{folder} is no benchmark: it has neither a {MANIFEST} of make_voc_c.py nor '
                f'folders of corruptions, such as {self.folder / "fog" / "3"}'
            )

    @property
    def title(self) -> str:
        return f'{self.folder.name}, as downloaded'

    @property
    def fingerprint(self) -> str:
        return f'downloaded {self.folder.absolute()}'

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        return [key for key in keys if key[0] is not None and not self._root(key).is_dir()]

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        return copy.deepcopy(dict(dataset))

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        changed = copy.deepcopy(dict(dataset))
        for leaf in iter_datasets(changed):
            if not is_folder(leaf):
                raise ValueError(
                    f'{self.folder} has no annotations and the test data are of type '
                    f'{type_name(leaf)}; only image folders can be evaluated without a {MANIFEST}'
                )
            move_folder(leaf, self._root(key).absolute(), cropped=True)
        return changed

    def _root(self, key: CellKey) -> Path:
        return self._found.get(str(key[0]), self.folder / str(key[0])) / str(key[1])


def open_benchmark(folder: str | os.PathLike[str]) -> CellSource:
    """A benchmark that was built, or downloaded.

    Raises:
        BenchmarkError, ValueError: If the folder is neither.
    """
    there = os.listdir(folder) if os.path.isdir(folder) else []
    ours = MANIFEST in there or JOURNAL in there or not there
    return Built(folder) if ours else Downloaded(folder)


def is_folder(dataset: Mapping[str, Any]) -> bool:
    """Whether it is one of mmpretrain's data sets of a folder a class."""
    return type_name(dataset) in _FOLDERS


def move_folder(leaf: DatasetConfig, root: Path, *, cropped: bool) -> None:
    """Point an image folder's config to a cell, whose folders tell the classes.

    Args:
        leaf: Changed in place.
        root: Of the cell.
        cropped: Whether its images are crops already, which nothing must resize.

    Raises:
        ValueError: If they are, and the pipeline crops in a way that is not known.
    """
    leaf.update(ann_file='', data_root=f'{root}{os.sep}', data_prefix='')
    if 'split' in leaf:
        leaf['split'] = ''
    if cropped:
        leaf['pipeline'] = without_cropping(leaf['pipeline'])


def _naming(dataset: DatasetConfig) -> str:
    """How ``CorruptImage`` is to name images, for the same noise as in a built benchmark."""
    below_folder = is_folder(dataset) or 'Coco' in type_name(dataset)
    return images_folder(dataset) if below_folder else 'stem'


def images_folder(dataset: Mapping[str, Any]) -> str:
    """The folder that the names of a data set's images are relative to."""
    prefix = dataset.get('data_prefix') or ''
    # MMDetection's name for it, and mmpretrain's.
    folder = (
        prefix if isinstance(prefix, str) else prefix.get('img') or prefix.get('img_path') or ''
    )
    return _joined(dataset, folder or (is_folder(dataset) and dataset.get('split')) or '')


def _as_text(dataset: DatasetConfig) -> str:
    return json.dumps(dataset, sort_keys=True, default=str)


def split_name(dataset: Mapping[str, Any]) -> str:
    """How results call the test set: its list or annotation file, or, of image folders without
    one, the name of their folder, which is the same on other machines."""
    listed = dataset.get('ann_file')
    return str(listed) if listed else Path(images_folder(dataset)).name


def _joined(dataset: Mapping[str, Any], path: str) -> str:
    return os.path.join(dataset.get('data_root') or '', path)
