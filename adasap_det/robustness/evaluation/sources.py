"""Where corrupted pictures come from: made on the fly, or a benchmark that was built."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from adasap_det.robustness.benchmark.journal import JOURNAL
from adasap_det.robustness.benchmark.manifest import MANIFEST, cell_root, read_manifest
from adasap_det.robustness.cells import CellKey
from adasap_det.robustness.corruptions import CORRUPTIONS, CORRUPTIONS_VERSION

DatasetConfig = dict[str, Any]

# mmpretrain's data sets of a folder a class.
_FOLDERS = ('CustomDataset', 'ImageNet')
_GEOMETRY = ('Resize', 'ResizeEdge', 'CenterCrop', 'torchvision/Resize', 'torchvision/CenterCrop')


class CellSource(Protocol):
    """Turns the config of a data set into that of a cell."""

    @property
    def title(self) -> str:
        """As results and reports call it."""

    @property
    def fingerprint(self) -> str:
        """Of all that the pictures depend on, besides the clean data set."""

    def missing(self, keys: list[CellKey]) -> list[CellKey]:
        """The cells that it has not."""

    def clean(self, dataset: Mapping[str, Any]) -> DatasetConfig:
        """The clean pictures that the corrupted ones were made of."""

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        """The pictures of a cell."""


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
        for leaf in leaves(changed):
            corruption = dict(
                type='CorruptImage',
                corruption=key[0],
                severity=key[1],
                seed=self.seed,
                image_id=_naming(leaf),
            )
            # ImageNet-C is defined on the crop, detection's benchmarks on the whole picture.
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
        """The clean data set, but the benchmark's list of pictures, which may be a part of it."""
        changed = copy.deepcopy(dict(dataset))
        key = (self.manifest.corruptions[0], self.manifest.severities[0])
        root = cell_root(self.folder, *key).absolute()
        for leaf in self._leaf(changed):
            if leaf.get('ann_file') and not is_folder(leaf):
                leaf['ann_file'] = str(self._listed(root, leaf['ann_file']))
        return changed

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        changed = copy.deepcopy(dict(dataset))
        assert key[0] is not None
        root = cell_root(self.folder, key[0], key[1]).absolute()
        for leaf in self._leaf(changed):
            if is_folder(leaf):
                move_folder(leaf, root, cropped=self.manifest.options.get('crop') is not None)
                continue
            if leaf.get('ann_file'):
                self._listed(root, leaf['ann_file'])
            leaf['data_root'] = f'{root}{os.sep}'
        return changed

    def _leaf(self, dataset: DatasetConfig) -> list[DatasetConfig]:
        found = list(leaves(dataset))
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


class Downloaded:
    """Folders ``<corruption>/<severity>/<class>/<picture>`` without a manifest: ImageNet-C as it is
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
        for leaf in leaves(changed):
            if not is_folder(leaf):
                raise ValueError(
                    f'{self.folder} has no annotations and the test data are of type '
                    f'{_type_name(leaf)}; only image folders can be evaluated without a {MANIFEST}'
                )
            move_folder(leaf, self._root(key).absolute(), cropped=True, keep_list=False)
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
    return _type_name(dataset) in _FOLDERS


def move_folder(leaf: DatasetConfig, root: Path, *, cropped: bool, keep_list: bool = True) -> None:
    """Point an image folder's config to a cell.

    Args:
        leaf: Changed in place.
        root: Of the cell.
        cropped: Whether its pictures are crops already, which nothing must resize.
        keep_list: Whether the list of pictures and classes holds for the cell too; if not, its
            folders tell the classes.
    """
    listed = leaf.get('ann_file')
    if keep_list and not listed and _type_name(leaf) == 'ImageNet' and leaf.get('split'):
        # As mmpretrain looks for it.
        candidate = f'meta/{leaf["split"]}.txt'
        listed = candidate if os.path.exists(_joined(leaf, candidate)) else None
    leaf['ann_file'] = os.path.abspath(_joined(leaf, listed)) if keep_list and listed else ''
    leaf['data_root'] = f'{root}{os.sep}'
    leaf['data_prefix'] = ''
    if 'split' in leaf:
        leaf['split'] = ''
    if cropped:
        leaf['pipeline'] = [step for step in leaf['pipeline'] if _type_name(step) not in _GEOMETRY]


def leaves(dataset: DatasetConfig) -> Iterator[DatasetConfig]:
    """The data sets inside wrappers such as ConcatDataset, changeable in place."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaves(item)


def after_loading(pipeline: list[Any], transform: dict[str, Any]) -> list[Any]:
    """The pipeline with a transform right behind the loading of the image.

    Raises:
        ValueError: If the pipeline loads no image.
    """
    for index, step in enumerate(pipeline):
        if _type_name(step).startswith('LoadImage'):
            return [*pipeline[: index + 1], transform, *pipeline[index + 1 :]]
    raise ValueError(
        'the test pipeline has no LoadImageFromFile, behind which pictures could be corrupted; '
        'evaluate from a built benchmark instead'
    )


def after_cropping(pipeline: list[Any], transform: dict[str, Any]) -> list[Any]:
    """The pipeline with a transform behind the last resizing or cropping, or behind the loading.

    Raises:
        ValueError: If the pipeline loads no image.
    """
    for index in range(len(pipeline) - 1, -1, -1):
        if _type_name(pipeline[index]) in _GEOMETRY:
            return [*pipeline[: index + 1], transform, *pipeline[index + 1 :]]
    return after_loading(pipeline, transform)


def _naming(dataset: DatasetConfig) -> str:
    """How ``CorruptImage`` is to name images, for the same noise as in a built benchmark."""
    prefix = dataset.get('data_prefix') or ''
    folder = prefix if isinstance(prefix, str) else prefix.get('img', '')
    if is_folder(dataset):
        return _joined(dataset, folder or dataset.get('split') or '')
    return _joined(dataset, folder) if 'Coco' in _type_name(dataset) else 'stem'


def _joined(dataset: Mapping[str, Any], path: str) -> str:
    return os.path.join(dataset.get('data_root') or '', path)


def _type_name(cfg: Mapping[str, Any]) -> str:
    kind = cfg.get('type', '')
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
