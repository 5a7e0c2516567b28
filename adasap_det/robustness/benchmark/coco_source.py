"""Read a data set in the COCO layout."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.image_codec import with_suffix
from adasap_det.robustness.benchmark.source_images import (
    Source,
    SourceImage,
    check_folder,
    check_relative,
    duplicates,
)


def coco_source(
    root: str | os.PathLike[str],
    *,
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
) -> Source:
    """Return the images that an annotation file lists.

    Args:
        root: Folder of the data set.
        annotations: JSON file, relative to ``root`` or to the working directory.
        images: Folder of the images, relative to ``root``; it has the same name in each cell.
            ``'.'`` if file names are relative to ``root``.

    Returns:
        The source. Images that have no file or are listed twice are among its problems.

    Raises:
        BenchmarkError: If a file or folder is missing, or the JSON is not in the COCO format.
    """
    base = Path(root)
    check_folder(base, 'give the folder of the data set with --source')
    folder = Path(images).as_posix()
    if folder != '.':
        check_relative(folder, '--images')
    inside_cell = '' if folder == '.' else f'{folder}/'
    check_folder(base / folder, 'name the images folder, relative to --source, with --images')
    path = base / annotations if (base / annotations).is_file() else Path(annotations)
    data, raw = _read(path, base)
    names = [check_relative(entry['file_name'], str(path)) for entry in data['images']]
    twice = duplicates(names) + _repeated_ids(data['images'])
    problems = dict.fromkeys(twice, f'it is listed more than once in {path.name}')
    source_images = []
    for name in dict.fromkeys(names):
        if name in problems:
            continue
        file = base / folder / name
        if file.is_file():
            source_images.append(SourceImage(name, file, f'{inside_cell}{name}'))
        else:
            problems[name] = f'{inside_cell}{name} does not exist'
    try:
        # The name that configs use, also if it is a symbolic link.
        inside = Path(os.path.abspath(path)).relative_to(os.path.abspath(base)).as_posix()
    except ValueError:
        inside = f'annotations/{path.name}'
    return Source(
        layout='coco',
        root=base,
        description={'layout': 'coco', 'folder': folder, 'annotations': inside},
        images=tuple(source_images),
        problems=problems,
        annotation_file=inside,
        annotations=data,
        annotation_bytes=raw,
    )


def subset_annotations(source: Source, kept: Collection[str], *, format: str) -> bytes:
    """Return the content of an annotation file for some of the images.

    Args:
        source: From :func:`coco_source`.
        kept: Ids of the images.
        format: Image format, which determines the suffix of file names.

    Returns:
        The unchanged bytes of the source's file if all images are kept under their names.
    """
    data = source.annotations
    kept = set(kept)
    entries = [
        {**entry, 'file_name': with_suffix(entry['file_name'], format)}
        for entry in data['images']
        if entry['file_name'] in kept
    ]
    if entries == data['images']:
        return source.annotation_bytes
    ids = {entry['id'] for entry in entries}
    boxes = [box for box in data['annotations'] if box['image_id'] in ids]
    return json.dumps({**data, 'images': entries, 'annotations': boxes}).encode()


def _read(path: Path, base: Path) -> tuple[dict[str, Any], bytes]:
    if not path.is_file():
        raise BenchmarkError(
            f'the annotations {str(path)!r} do not exist, neither below {base} nor relative to '
            'the working directory; give the file with --annotations'
        )
    raw = path.read_bytes()
    try:
        data = json.loads(raw)
    except ValueError as error:
        raise BenchmarkError(f'the annotations {path} cannot be read: {error}') from None
    except RecursionError:
        raise BenchmarkError(
            f'the annotations {path} cannot be read: it is nested too deeply'
        ) from None
    valid = (
        isinstance(data, dict)
        and all(isinstance(data.get(key), list) for key in ('images', 'annotations'))
        and all(
            isinstance(entry, dict)
            and isinstance(entry.get('file_name'), str)
            and isinstance(entry.get('id'), int | str)
            for entry in data['images']
        )
        and all(
            isinstance(box, dict) and isinstance(box.get('image_id'), int | str)
            for box in data['annotations']
        )
    )
    if not valid:
        raise BenchmarkError(
            f"the annotations {path} are not in the COCO format: it needs lists 'images' (with id "
            "and file_name) and 'annotations' (with image_id)"
        )
    if not data['images']:
        raise BenchmarkError(f'the annotations {path} list no images')
    return data, raw


def _repeated_ids(entries: list[dict[str, Any]]) -> list[str]:
    """Return the file names of entries with the same id."""
    twice = set(duplicates(str(entry['id']) for entry in entries))
    return [entry['file_name'] for entry in entries if str(entry['id']) in twice]
