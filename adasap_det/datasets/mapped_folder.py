"""Image folders that are not in alphabetical order of the classes: ImageNet-V2, ObjectNet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from .objectnet import objectnet_mapping

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.ppm')


@DATASETS.register_module()
class MappedFolder(BaseDataset):
    """Image folders with a mapping from folder to class numbers.

    Data sets that read folders in alphabetical order give wrong classes for ImageNet-V2, whose
    folders are named 0 to 999: '10' comes before '2'.

    Args:
        data_root: Folder that contains the folders of the classes.
        mapping: ``'number'``: the name of a folder is its class number. ``'objectnet'``: read the
            mapping from ObjectNet's own files in ``../mappings``. Otherwise a JSON file or a
            dictionary from folder to one or several class numbers (an object of ObjectNet may be
            several ImageNet classes; predicting any of them is correct). Other folders are
            ignored.
        metainfo: Meta information, with ``classes``.
        pipeline: As in MMEngine.

    Raises:
        ValueError: If the folder or the mapping does not exist, a class number is out of range,
            the mapping names a missing folder, or there is no image.
    """

    def __init__(
        self,
        *,
        data_root: str,
        mapping: str | Mapping[str, int | Sequence[int]] = 'number',
        metainfo: Mapping[str, Any] | None = None,
        pipeline: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        self.mapping = mapping
        super().__init__(
            ann_file='', data_root=data_root, metainfo=metainfo, pipeline=[*pipeline], **kwargs
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the images, sorted by class numbers, folder and file name."""
        root = Path(self.data_root)
        if not root.is_dir():
            raise ValueError(
                f'data_root {str(root)!r} is no folder; give the folder of the class folders'
            )
        labels = self._labels(root)
        found = []
        for name, several in sorted(labels.items(), key=lambda item: (item[1], item[0])):
            for path in sorted((root / name).rglob('*')):
                if path.suffix.lower() in SUFFIXES:
                    label = several[0] if len(several) == 1 else several
                    found.append({'img_path': str(path), 'gt_label': label})
        if not found:
            raise ValueError(f'{root} holds no image of a mapped folder ({", ".join(SUFFIXES)})')
        return found

    def _labels(self, root: Path) -> dict[str, list[int]]:
        """Class numbers of each folder."""
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != '.')
        if self.mapping == 'number':
            wrong = [name for name in folders if not name.isdigit()]
            if wrong:
                raise ValueError(
                    f"mapping='number' needs folders named by their class number, and {root} has "
                    f'{wrong[0]!r}; give a mapping from folders to class numbers'
                )
            labels = {name: [int(name)] for name in folders}
        else:
            labels = {name: _as_list(value) for name, value in self._mapping().items()}
            absent = sorted(labels.keys() - set(folders))
            if absent:
                raise ValueError(f'the mapping names {absent[0]!r}, which is no folder in {root}')
        classes = self.metainfo.get('classes')
        for name, several in labels.items():
            for label in several:
                if label < 0 or (classes is not None and label >= len(classes)):
                    raise ValueError(
                        f'folder {name!r} of {root} is mapped to {label}, which is none of the '
                        f'{"" if classes is None else len(classes)} classes'
                    )
        return labels

    def _mapping(self) -> Mapping[str, int | Sequence[int]]:
        if isinstance(self.mapping, Mapping):
            return self.mapping
        if self.mapping == 'objectnet':
            return objectnet_mapping(Path(self.data_root).parent / 'mappings')
        try:
            loaded = json.loads(Path(self.mapping).read_text('utf-8'))
        except (OSError, ValueError) as error:
            raise ValueError(
                f'the mapping {self.mapping!r} is no readable JSON file ({error})'
            ) from None
        if not isinstance(loaded, dict):
            raise ValueError(f'the mapping {self.mapping!r} is no JSON object of folders')
        return loaded


def _as_list(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else [int(item) for item in value]
