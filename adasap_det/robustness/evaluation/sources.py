"""Where corrupted pictures come from: made on the fly, or a benchmark that was built."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from adasap_det.robustness.benchmark.manifest import MANIFEST, cell_root, read_manifest
from adasap_det.robustness.cells import CellKey
from adasap_det.robustness.corruptions import CORRUPTIONS_VERSION

DatasetConfig = dict[str, Any]


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
            leaf['pipeline'] = after_loading(leaf.get('pipeline') or [], corruption)
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
            if leaf.get('ann_file'):
                leaf['ann_file'] = str(self._listed(root, leaf['ann_file']))
        return changed

    def cell(self, dataset: Mapping[str, Any], key: CellKey) -> DatasetConfig:
        changed = copy.deepcopy(dict(dataset))
        assert key[0] is not None
        root = cell_root(self.folder, key[0], key[1]).absolute()
        for leaf in self._leaf(changed):
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
        kind = step.get('type', '')
        name = kind if isinstance(kind, str) else kind.__name__
        if name.rpartition('.')[2].startswith('LoadImage'):
            return [*pipeline[: index + 1], transform, *pipeline[index + 1 :]]
    raise ValueError(
        'the test pipeline has no LoadImageFromFile, behind which pictures could be corrupted; '
        'evaluate from a built benchmark instead'
    )


def _naming(dataset: DatasetConfig) -> str:
    """How ``CorruptImage`` is to name images, for the same noise as in a built benchmark."""
    kind = dataset.get('type', '')
    name = (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
    if 'Coco' not in name:
        return 'stem'
    folder = (dataset.get('data_prefix') or {}).get('img', '')
    return os.path.join(dataset.get('data_root') or '', folder)
