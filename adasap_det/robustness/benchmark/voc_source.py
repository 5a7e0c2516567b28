"""Read a split of a data set in the Pascal VOC layout."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from adasap_det.robustness.benchmark.errors import BenchmarkError, ImageError
from adasap_det.robustness.benchmark.source_images import (
    Source,
    SourceImage,
    check_folder,
    check_relative,
    duplicates,
    folder_name,
)

_SUFFIXES = ('.jpg', '.jpeg', '.JPG', '.JPEG', '.png')


def voc_source(
    root: str | os.PathLike[str], *, year: str = '2007', split: str = 'test', threads: int = 8
) -> Source:
    """Return the images of one split with their annotations.

    Args:
        root: ``VOCdevkit``, which contains ``VOC2007``, or the folder that contains ``JPEGImages``.
        year: Year in the folder's name, ``VOC<year>``.
        split: Name of the list ``ImageSets/Main/<split>.txt``.
        threads: Number of threads that read annotations.

    Returns:
        The source. Images that have no file or no readable annotation or are listed twice are
        among its problems.

    Raises:
        BenchmarkError: If a folder or the list is missing, or the list is empty.
    """
    given = Path(root)
    folder = given if (given / 'JPEGImages').is_dir() else given / f'VOC{year}'
    remedy = (
        'prepare Pascal VOC with `python tools/prepare_voc.py`, or give its folder with --source '
        '(and --year)'
    )
    for name in ('', 'JPEGImages', 'Annotations', 'ImageSets/Main'):
        check_folder(folder / name, remedy)
    name = folder_name(folder)
    check_relative(split, '--split')
    list_file = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    ids = _read_list(list_file)
    twice = dict.fromkeys(duplicates(ids), f'it is listed more than once in {list_file.name}')
    once = [image_id for image_id in dict.fromkeys(ids) if image_id not in twice]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda image_id: _look_up(folder, name, image_id), once))
    pairs = list(zip(once, found, strict=True))
    return Source(
        layout='voc',
        root=folder,
        description={'layout': 'voc', 'folder': name, 'split': split},
        images=tuple(image for _, image in pairs if isinstance(image, SourceImage)),
        problems=twice | {image_id: text for image_id, text in pairs if isinstance(text, str)},
    )


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        lists = ', '.join(sorted(p.stem for p in path.parent.glob('*.txt'))[:10]) or 'none'
        raise BenchmarkError(f'the list {path} does not exist; lists in that folder: {lists}')
    try:
        lines = path.read_text('utf-8-sig').splitlines()
    except UnicodeError as error:
        raise BenchmarkError(f'the list {path} is not a text file ({error})') from None
    ids = [check_relative(line.strip(), str(path)) for line in lines if line.strip()]
    if not ids:
        raise BenchmarkError(f'the list {path} is empty; it needs one image id per line')
    flagged = [image_id for image_id in ids if image_id.split()[-1] in ('1', '0', '-1')]
    if len(flagged) == len(ids) and all(' ' in image_id for image_id in ids):
        raise BenchmarkError(
            f'{path} is the list of one class, with a flag after each image id; give the list of '
            'a whole split, such as test or val'
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
    """Check that an annotation is readable, and each object has a name and a box in the image.

    Raises:
        ImageError: If it is not.
    """
    try:
        tree = ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError:
        raise ImageError('does not exist') from None
    except OSError as error:  # without its path, which is not the same on every machine
        raise ImageError(f'cannot be read: {error.strerror}') from None
    except (ElementTree.ParseError, ValueError) as error:
        raise ImageError(f'cannot be read: {error}') from None
    if tree.tag != 'annotation':
        raise ImageError(f"cannot be read: its root is {tree.tag!r}, not 'annotation'")
    size = [_number(tree.findtext(f'size/{side}')) or math.inf for side in ('width', 'height')]
    for element in tree.iter('object'):
        texts = [element.findtext(f'bndbox/{tag}') for tag in ('xmin', 'ymin', 'xmax', 'ymax')]
        corners = [number for text in texts if (number := _number(text)) is not None]
        if len(corners) != 4 or not element.findtext('name'):
            raise ImageError('cannot be read: an object has no name or no valid box')
        problem = _box_problem(corners, size)
        if problem is not None:
            raise ImageError(
                f'is invalid: the box ({", ".join(map(str, texts))}) of an object {problem}'
            )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _box_problem(corners: Sequence[float], size: Sequence[float]) -> str | None:
    if not all(map(math.isfinite, corners)):
        return 'is not finite'
    low, high = corners[:2], corners[2:]
    if low[0] > high[0] or low[1] > high[1]:
        return 'has its corners swapped'
    if min(high) < 0 or low[0] > size[0] or low[1] > size[1]:
        return 'is outside the image'
    return None
