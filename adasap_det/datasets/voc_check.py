"""Find broken images and annotations in Pascal VOC's layout, before training."""

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

# Lists of up to this many images are fully decoded by default, in a second or two.
_DECODE_UP_TO = 1000
_JPEG_END = b'\xff\xd9'
# Registered names of mmdet's data sets that read VOC's layout.
_VOC_TYPES = ('VOCDataset', 'XMLDataset')


@dataclass(frozen=True)
class VOCSplit:
    """One list of images in VOC's layout.

    Attributes:
        root: Folder that contains the folders of images and annotations.
        list_file: Text file with one image id per line.
        classes: Known class names; None for any.
        image_dir, annotation_dir: Folders below ``root``.
    """

    root: Path
    list_file: Path
    classes: tuple[str, ...] | None = None
    image_dir: str = 'JPEGImages'
    annotation_dir: str = 'Annotations'


@dataclass
class LayoutReport:
    """Counts of a checked layout.

    Attributes:
        images: Number of listed images.
        boxes: Number of annotated boxes of known classes.
        unknown_classes: Number of boxes per unknown class name; the data set skips them.
    """

    images: int = 0
    boxes: int = 0
    unknown_classes: Counter[str] = field(default_factory=Counter)


def voc_splits(dataset_cfg: Mapping[str, Any]) -> Iterator[VOCSplit]:
    """Iterate over the lists in VOC's layout that a data set config reads, inside any wrappers.

    Args:
        dataset_cfg: MMDetection's data set config, such as ``train_dataloader.dataset``: a
            ``VOCDataset`` or ``XMLDataset``, alone or in ``RepeatDataset``, ``ConcatDataset``,
            ``ClassBalancedDataset``, ``MultiImageMixDataset``. Other data sets are skipped.
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
    """Check that every listed image can be opened and that every annotation is valid.

    Image headers are read, which takes seconds for a few thousand images; a JPEG without end
    marker is decoded too. Annotations must parse; their boxes must lie inside the image and,
    unless marked difficult, must not be empty.

    Args:
        source: MMDetection's data set config (see :func:`voc_splits`), or the folder that contains
            ``JPEGImages`` and ``Annotations``, or splits.
        list_file: List of image ids if ``source`` is a folder, relative to it or absolute.
        classes: Known class names if ``source`` is a folder; None for any.
        decode: True decodes every image in full, False none, None those of lists of up to 1,000
            images.
        max_shown: Number of broken files that the error names.
        num_threads: Threads that read files; by default 4 per processor, at most 16.

    Returns:
        Counts, with the unknown class names.

    Raises:
        ValueError: If files are missing or broken, with their number, the first of them, the
            problem of each and the remedy.
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
            + '\nRestore the files, for instance by unpacking the data set again, or remove the '
            f'images from the list ({", ".join(sorted({str(s.list_file) for s in splits}))}).'
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
                f'list_file is missing for the folder {source}; give it, such as '
                "list_file='ImageSets/Main/trainval.txt'"
            )
        root = Path(source)
        names = None if classes is None else tuple(classes)
        return [VOCSplit(root=root, list_file=root / list_file, classes=names)]
    if list_file is not None or classes is not None:
        raise ValueError(
            'list_file and classes are for folders only; a config or a split has its own'
        )
    return list(voc_splits(source)) if isinstance(source, Mapping) else list(source)


def _class_file(kind: str, file: str) -> list[str]:
    """Read names from a text file, one per line, as MMEngine's data sets do."""
    try:
        return list_from_file(file)
    except (TypeError, FileNotFoundError):
        raise ValueError(
            f'metainfo.classes of {kind} is {file!r}, which is no file; give a file with one class '
            f"per line, or the names themselves: classes=('cat', 'dog'), or ('cat',) for a single "
            f'class'
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
            f'the list of images {split.list_file} is empty; write one image id per '
            'line into it, or remove the data set from the config'
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
    """Problem of one file."""


def _check_image(path: Path, *, decode: bool, quick: bool) -> tuple[int, int]:
    """Open an image; return (width, height)."""
    try:
        if path.stat().st_size == 0:
            raise _BrokenFile('the file is empty')
        with Image.open(path) as image:
            size = image.size
            if decode or (quick and image.format == 'JPEG' and not _ends_as_jpeg(path)):
                # Pillow raises for a truncated image; OpenCV silently returns it half grey.
                image.load()
    except FileNotFoundError:
        raise _BrokenFile('the image does not exist') from None
    except UnidentifiedImageError:
        raise _BrokenFile('the file is no image') from None
    except (OSError, SyntaxError, ValueError) as error:
        raise _BrokenFile(f'the image cannot be read ({error})') from None
    return size


def _ends_as_jpeg(path: Path) -> bool:
    """Whether the end marker is in the last bytes; some writers pad after it."""
    with path.open('rb') as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 64))
        return _JPEG_END in file.read()


def _check_annotation(
    path: Path, image_size: tuple[int, int] | None, classes: tuple[str, ...] | None
) -> tuple[int, list[str]]:
    """Parse an annotation; return the number of known boxes and the unknown class names."""
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise _BrokenFile('the annotation does not exist') from None
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise _BrokenFile(f'the file is no valid XML ({error})') from None
    stated = root.find('size')
    size = image_size
    if stated is not None:
        size = _integer(stated, 'width'), _integer(stated, 'height')
        if image_size is not None and size != image_size:
            raise _BrokenFile(
                f'its size is {size[0]} x {size[1]} pixels, the image has '
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
    x0, y0, x1, y1 = (_integer(box, tag) for tag in ('xmin', 'ymin', 'xmax', 'ymax'))
    text = f'the box ({x0}, {y0}, {x1}, {y1}) of a {name}'
    difficult = entry.find('difficult') is not None and _integer(entry, 'difficult') != 0
    # Difficult objects are ignored in training, so an empty box does no harm.
    if (x1 <= x0 or y1 <= y0) and not difficult:
        raise _BrokenFile(f'{text} is empty')
    # VOC coordinates start at 1; annotations that start at 0 are common and accepted.
    if size is not None and (x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]):
        raise _BrokenFile(f'{text} is not inside the image of {size[0]} x {size[1]} pixels')


def _text(parent: ElementTree.Element, tag: str) -> str:
    text = parent.findtext(tag)
    if text is None or not text.strip():
        raise _BrokenFile(f'a {parent.tag} has no {tag}')
    # Not stripped: to mmdet, a name with a blank around it is another name.
    return text


def _integer(parent: ElementTree.Element, tag: str) -> int:
    """Read a number as mmdet does, without its fraction."""
    text = _text(parent, tag)
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise _BrokenFile(f'the {tag} of a {parent.tag} is {text!r}, not a number') from None
