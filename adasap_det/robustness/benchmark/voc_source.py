"""Reads a split in Pascal VOC's layout."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from adasap_det.robustness.benchmark.errors import BenchmarkError, ImageError
from adasap_det.robustness.benchmark.source_images import (
    Source,
    SourceImage,
    check_relative,
    folder_name,
    repeated,
    require_folder,
)

_SUFFIXES = ('.jpg', '.jpeg', '.JPG', '.JPEG', '.png')


def voc_source(
    root: str | os.PathLike[str], *, year: str = '2007', split: str = 'test', threads: int = 8
) -> Source:
    """The images of one split, each with its annotation.

    Args:
        root: ``VOCdevkit``, which holds ``VOC2007``; or the folder with ``JPEGImages`` itself.
        year: The folder is ``VOC<year>``.
        split: The list is ``ImageSets/Main/<split>.txt``.
        threads: That read annotations.

    Returns:
        The source. An image without file, without readable annotation or listed twice is among
        its problems.

    Raises:
        BenchmarkError: If a folder or the list is missing, or the list is empty.
    """
    given = Path(root)
    folder = given if (given / 'JPEGImages').is_dir() else given / f'VOC{year}'
    remedy = (
        'get Pascal VOC with `python tools/prepare_voc.py`, or give its folder with --source '
        '(and --year)'
    )
    for name in ('', 'JPEGImages', 'Annotations', 'ImageSets/Main'):
        require_folder(folder / name, remedy)
    name = folder_name(folder)
    check_relative(split, '--split')
    list_file = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    ids = _read_list(list_file)
    twice = dict.fromkeys(repeated(ids), f'it is listed more than once in {list_file.name}')
    once = [image_id for image_id in dict.fromkeys(ids) if image_id not in twice]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda image_id: _look_up(folder, name, image_id), once))
    pairs = list(zip(once, found, strict=True))
    return Source(
        layout='voc',
        root=folder,
        description={'layout': 'voc', 'folder': name, 'split': split},
        items=tuple(item for _, item in pairs if isinstance(item, SourceImage)),
        problems=twice | {image_id: item for image_id, item in pairs if isinstance(item, str)},
    )


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        there = ', '.join(sorted(p.stem for p in path.parent.glob('*.txt'))[:10]) or 'none'
        raise BenchmarkError(f'the list {path} does not exist; lists in that folder: {there}')
    try:
        lines = path.read_text('utf-8').splitlines()
    except UnicodeError as error:
        raise BenchmarkError(f'the list {path} is no text ({error})') from None
    ids = [check_relative(line.strip(), str(path)) for line in lines if line.strip()]
    if not ids:
        raise BenchmarkError(f'the list {path} is empty; it must have an image id a line')
    flagged = [image_id for image_id in ids if image_id.split()[-1] in ('1', '0', '-1')]
    if len(flagged) == len(ids) and all(' ' in image_id for image_id in ids):
        raise BenchmarkError(
            f'{path} is the list of one class, with a flag behind each image id; give a plain '
            'split such as test or val'
        )
    return ids


def _look_up(folder: Path, name: str, image_id: str) -> SourceImage | str:
    path = next(
        (
            candidate
            for suffix in _SUFFIXES
            if (candidate := folder / 'JPEGImages' / f'{image_id}{suffix}').is_file()
        ),
        None,
    )
    if path is None:
        return f'JPEGImages/{image_id}.jpg does not exist'
    annotation = folder / 'Annotations' / f'{image_id}.xml'
    try:
        check_annotation(annotation)
    except ImageError as error:
        return f'Annotations/{image_id}.xml {error}'
    return SourceImage(image_id, path, f'{name}/JPEGImages/{image_id}.jpg', annotation)


def check_annotation(path: Path) -> None:
    """Whether an annotation can be read, each object with a name and a box of four numbers.

    Raises:
        ImageError: If not.
    """
    try:
        tree = ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError:
        raise ImageError('does not exist') from None
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise ImageError(f'cannot be read: {error}') from None
    for thing in tree.iter('object'):
        corners = [thing.findtext(f'bndbox/{tag}') for tag in ('xmin', 'ymin', 'xmax', 'ymax')]
        try:
            numbers = [float(corner) for corner in corners if corner is not None]
        except ValueError:
            numbers = []
        if len(numbers) != 4 or not thing.findtext('name'):
            raise ImageError('cannot be read: an object lacks its name or its box')
