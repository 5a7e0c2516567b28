"""Finds broken images and annotations of a Pascal VOC layout before they cost training time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmengine.fileio import list_from_file
from PIL import Image, UnidentifiedImageError

from adasap_det.utils.config_tree import iter_datasets, type_name

__all__ = ['LayoutReport', 'VOCSplit', 'check_voc_layout', 'voc_splits']

# Up to so many images of a list are decoded in full unless told otherwise: a second or two.
_DECODE_UP_TO = 1000
_JPEG_END = b'\xff\xd9'
# mmdet's data sets that read VOC's layout, by registered name.
_VOC_TYPES = ('VOCDataset', 'XMLDataset')


@dataclass(frozen=True)
class VOCSplit:
    """One list of images in VOC's layout.

    Attributes:
        root: Folder that holds the images' and the annotations' folder.
        list_file: Text file with one image id a line.
        classes: Names a box may have; with None any name will do.
        image_dir, annotation_dir: Folders below ``root``.
    """

    root: Path
    list_file: Path
    classes: tuple[str, ...] | None = None
    image_dir: str = 'JPEGImages'
    annotation_dir: str = 'Annotations'


@dataclass
class LayoutReport:
    """What a check has seen.

    Attributes:
        images: Number of images listed.
        boxes: Number of boxes annotated, those of unknown classes left out.
        unknown_classes: Boxes per class name that the data set does not know, and so skips.
    """

    images: int = 0
    boxes: int = 0
    unknown_classes: Counter[str] = field(default_factory=Counter)


def voc_splits(dataset_cfg: Mapping[str, Any]) -> Iterator[VOCSplit]:
    """The lists in VOC's layout that a data set's config reads, through any wrappers.

    Args:
        dataset_cfg: MMDetection's data set config, such as ``train_dataloader.dataset``: a
            ``VOCDataset`` or ``XMLDataset``, alone or in ``RepeatDataset``, ``ConcatDataset``,
            ``ClassBalancedDataset``, ``MultiImageMixDataset``. Other data sets give nothing.
    """
    for cfg in iter_datasets(dataset_cfg):
        if type_name(cfg) in _VOC_TYPES:
            yield _voc_split(cfg)


def _voc_split(dataset_cfg: Mapping[str, Any]) -> VOCSplit:
    name = type_name(dataset_cfg)
    if 'ann_file' not in dataset_cfg:
        raise ValueError(
            f'{name} has no ann_file; give the list of its images, such as '
            "ann_file='VOC2007/ImageSets/Main/trainval.txt'"
        )
    data_root = Path(dataset_cfg.get('data_root') or '')
    prefix = dataset_cfg.get('data_prefix') or {}
    classes = (dataset_cfg.get('metainfo') or {}).get('classes')
    if isinstance(classes, str):
        classes = _class_file(name, classes)
    if classes is None and name.endswith('VOCDataset'):
        from mmdet.datasets import VOCDataset

        classes = VOCDataset.METAINFO['classes']
    return VOCSplit(
        root=data_root / prefix.get('sub_data_root', ''),
        list_file=data_root / dataset_cfg['ann_file'],
        classes=None if classes is None else tuple(classes),
        image_dir=dataset_cfg.get('img_subdir', 'JPEGImages'),
        annotation_dir=dataset_cfg.get('ann_subdir', 'Annotations'),
    )


def check_voc_layout(
    source: Mapping[str, Any] | str | os.PathLike[str] | Sequence[VOCSplit],
    *,
    list_file: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    decode: bool | None = None,
    max_shown: int = 5,
    num_threads: int | None = None,
) -> LayoutReport:
    """Check that every listed image opens and every annotation says something sensible.

    Images have their header read, which takes seconds for a few thousand; a JPEG that does not
    end as one should is decoded too. Annotations must parse; their boxes must lie inside the
    image and, unless marked difficult, must not be empty.

    Args:
        source: MMDetection's data set config (see :func:`voc_splits`), or the folder that holds
            ``JPEGImages`` and ``Annotations``, or splits.
        list_file: For a folder: its list of image ids, relative to the folder or absolute.
        classes: For a folder: the class names that boxes may have; None takes any.
        decode: True decodes every image in full, False none, None those of lists of up to 1,000
            images.
        max_shown: How many broken files the error names.
        num_threads: Threads that read files; by default 4 for each processor, at most 16.

    Returns:
        Counts, and the class names that the data set does not know.

    Raises:
        ValueError: If files are missing or broken: their number, the first of them, what is wrong
            with each and what can be done.
    """
    splits = _as_splits(source, list_file, classes)
    threads = num_threads or min(16, 4 * (os.cpu_count() or 1))
    report = LayoutReport()
    broken: list[str] = []
    with ThreadPoolExecutor(threads) as pool:
        for split in splits:
            ids = _read_list(split)
            full = decode if decode is not None else len(ids) <= _DECODE_UP_TO

            def check(image_id: str, split: VOCSplit = split, full: bool = full) -> _Finding:
                return _check_one(split, image_id, decode=full, quick=decode is not False)

            for finding in pool.map(check, ids, chunksize=1):
                broken.extend(finding.problems)
                report.boxes += finding.boxes
                report.unknown_classes.update(finding.unknown)
            report.images += len(ids)
    if broken:
        shown = '\n  '.join(broken[:max_shown])
        more = len(broken) - max_shown
        raise ValueError(
            f'{len(broken)} broken or missing files among {report.images} images:\n  {shown}'
            + (f'\n  and {more} more' if more > 0 else '')
            + '\nRestore the files, for instance by unpacking the data set again, or take the '
            f'images off the list ({", ".join(sorted({str(s.list_file) for s in splits}))}).'
        )
    return report


def _as_splits(
    source: Mapping[str, Any] | str | os.PathLike[str] | Sequence[VOCSplit],
    list_file: str | os.PathLike[str] | None,
    classes: Sequence[str] | None,
) -> list[VOCSplit]:
    if isinstance(source, str | os.PathLike):
        if list_file is None:
            raise ValueError(
                f'which images of {source}? Give list_file, such as '
                "list_file='ImageSets/Main/trainval.txt'"
            )
        root = Path(source)
        names = None if classes is None else tuple(classes)
        return [VOCSplit(root=root, list_file=root / list_file, classes=names)]
    if list_file is not None or classes is not None:
        raise ValueError('list_file and classes go with a folder; a config or a split has its own')
    return list(voc_splits(source)) if isinstance(source, Mapping) else list(source)


def _class_file(kind: str, file: str) -> list[str]:
    """Names from a text file, one a line, read as MMEngine's data sets read it."""
    try:
        return list_from_file(file)
    except (TypeError, FileNotFoundError):
        raise ValueError(
            f'metainfo.classes of {kind} is {file!r}, and there is no such file; give a file with '
            f"one class a line, or the names themselves: classes=('cat', 'dog'), and ('cat',) for "
            f'one'
        ) from None


def _read_list(split: VOCSplit) -> list[str]:
    if not split.list_file.is_file():
        raise ValueError(
            f'the list of images {split.list_file} does not exist; correct data_root '
            'and ann_file, or prepare the data set first (tools/prepare_voc.py)'
        )
    ids = [line.strip() for line in split.list_file.read_text().splitlines() if line.strip()]
    if not ids:
        raise ValueError(
            f'the list of images {split.list_file} is empty; write one image id a '
            'line into it, or take the data set out of the config'
        )
    return ids


@dataclass(frozen=True)
class _Finding:
    problems: list[str]
    boxes: int = 0
    unknown: tuple[str, ...] = ()


def _check_one(split: VOCSplit, image_id: str, *, decode: bool, quick: bool) -> _Finding:
    image_path = split.root / split.image_dir / f'{image_id}.jpg'
    annotation_path = split.root / split.annotation_dir / f'{image_id}.xml'
    problems = []
    size = None
    try:
        size = _check_image(image_path, decode=decode, quick=quick)
    except _BrokenFile as error:
        problems.append(f'{image_path}: {error}')
    try:
        boxes, unknown = _check_annotation(annotation_path, size, split.classes)
    except _BrokenFile as error:
        problems.append(f'{annotation_path}: {error}')
        return _Finding(problems)
    return _Finding(problems, boxes, tuple(unknown))


class _BrokenFile(Exception):
    """What is wrong with one file."""


def _check_image(path: Path, *, decode: bool, quick: bool) -> tuple[int, int]:
    """Open an image; returns (width, height)."""
    try:
        if path.stat().st_size == 0:
            raise _BrokenFile('the file is empty')
        with Image.open(path) as image:
            size = image.size
            if decode or (quick and image.format == 'JPEG' and not _ends_as_jpeg(path)):
                # OpenCV would train on a half grey image without a word; Pillow refuses.
                image.load()
    except FileNotFoundError:
        raise _BrokenFile('no such image') from None
    except UnidentifiedImageError:
        raise _BrokenFile('this is no image') from None
    except (OSError, SyntaxError, ValueError) as error:
        raise _BrokenFile(f'the image cannot be read ({error})') from None
    return size


def _ends_as_jpeg(path: Path) -> bool:
    """Whether the mark of the end is there; some writers pad after it."""
    with path.open('rb') as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 64))
        return _JPEG_END in file.read()


def _check_annotation(
    path: Path, image_size: tuple[int, int] | None, classes: tuple[str, ...] | None
) -> tuple[int, list[str]]:
    """Parse an annotation; returns the number of known boxes and the unknown class names."""
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise _BrokenFile('no such annotation') from None
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise _BrokenFile(f'this is no XML ({error})') from None
    stated = root.find('size')
    size = image_size
    if stated is not None:
        size = _whole(stated, 'width'), _whole(stated, 'height')
        if image_size is not None and size != image_size:
            raise _BrokenFile(
                f'it states {size[0]} x {size[1]} pixels, the image has '
                f'{image_size[0]} x {image_size[1]}'
            )
    boxes, unknown = 0, []
    for entry in root.findall('object'):
        name = _text(entry, 'name')
        if classes is not None and name not in classes:
            unknown.append(name)
            continue
        _check_box(entry, name, size)
        boxes += 1
    return boxes, unknown


def _check_box(entry: ElementTree.Element, name: str, size: tuple[int, int] | None) -> None:
    box = entry.find('bndbox')
    if box is None:
        raise _BrokenFile(f'a {name} has no bndbox')
    x0, y0, x1, y1 = (_whole(box, tag) for tag in ('xmin', 'ymin', 'xmax', 'ymax'))
    text = f'the box ({x0}, {y0}, {x1}, {y1}) of a {name}'
    difficult = entry.find('difficult') is not None and _whole(entry, 'difficult') != 0
    # Difficult objects are not learnt from, so an empty one does no harm.
    if (x1 <= x0 or y1 <= y0) and not difficult:
        raise _BrokenFile(f'{text} is empty')
    # VOC counts from 1; annotations that count from 0 are common, and let pass.
    if size is not None and (x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]):
        raise _BrokenFile(f'{text} leaves the image of {size[0]} x {size[1]} pixels')


def _text(parent: ElementTree.Element, tag: str) -> str:
    text = parent.findtext(tag)
    if text is None or not text.strip():
        raise _BrokenFile(f'a {parent.tag} has no {tag}')
    # As mmdet reads it: a name with a blank around it is another name.
    return text


def _whole(parent: ElementTree.Element, tag: str) -> int:
    """A number as mmdet reads it: the fraction cut off."""
    text = _text(parent, tag)
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise _BrokenFile(f'the {tag} of a {parent.tag} is {text!r}, no number') from None
