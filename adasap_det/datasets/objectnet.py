"""Read ObjectNet's mapping from its objects to ImageNet classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILES = (
    'folder_to_objectnet_label.json',
    'objectnet_to_imagenet_1k.json',
    'pytorch_to_imagenet_2012_id.json',
    'imagenet_to_label_2012_v2',
)


def objectnet_mapping(mappings: Path) -> dict[str, list[int]]:
    """Return the ImageNet class numbers of each ObjectNet folder, for the 113 shared objects.

    Args:
        mappings: Folder ``mappings`` of the unpacked data set, beside ``images``.

    Raises:
        ValueError: If one of its four files is missing or unreadable, or they name a class that is
            not in the list of labels.

    Source: ObjectNet (Barbu et al. 2019), whose objects are one or several classes of ImageNet.
    """
    folders, objects, ids, labels = (_read(mappings / name) for name in FILES)
    numbers = {int(other): int(number) for number, other in ids.items()}
    number_of = {x.strip(): numbers[i] for i, x in enumerate(labels) if i in numbers}
    mapping = {}
    for folder, name in folders.items():
        if name not in objects:  # not in ImageNet
            continue
        classes = [label.strip() for label in objects[name].split(';')]
        unknown = [label for label in classes if label not in number_of]
        if unknown:
            raise ValueError(
                f'{mappings / FILES[1]}: {unknown[0]!r} of {name!r} is no label of {FILES[3]}; '
                f'unpack ObjectNet again'
            )
        mapping[folder] = sorted(number_of[label] for label in classes)
    return mapping


def _read(path: Path) -> Any:
    try:
        text = path.read_text('utf-8')
        return json.loads(text) if path.suffix == '.json' else text.splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(
            f'{path} cannot be read ({error}); it belongs in the folder "mappings" of ObjectNet, '
            f'beside "images"; unpack ObjectNet again'
        ) from None
