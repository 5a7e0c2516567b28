"""Annotations and lists that make a cell a complete data set, stored once and linked to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from adasap_det.robustness.benchmark.coco_source import annotations_of
from adasap_det.robustness.benchmark.digests import FileDigest, link, stamp, write_whole
from adasap_det.robustness.benchmark.source_images import Source
from adasap_det.robustness.benchmark.worker import Cell, cell_path

#: Folder inside a benchmark with the one copy.
SHARED = 'annotations'


@dataclass
class Extras:
    """Files and links next to the images, by their path below the benchmark.

    Attributes:
        files: Content, or the file to copy.
        links: Target, relative to the link.
    """

    files: dict[str, bytes | Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def plan_extras(
    source: Source, kept: Sequence[str], cells: Sequence[Cell], *, format: str, links: bool
) -> Extras:
    """The files needed next to the images of a source.

    Args:
        source: The clean data set.
        kept: Ids of the images that every cell holds, in order.
        cells: Of the benchmark.
        format: Of the images.
        links: Keep one copy and link each cell to it; else each cell gets a copy.
    """
    files = _cell_files(source, kept, format=format)
    plan = Extras()
    if links:
        plan.files = {f'{SHARED}/{path}': content for path, content in files.items()}
        inside = _cell_links(source)
    else:
        inside = {}
    for cell in cells:
        if not links:
            plan.files |= {cell_path(cell, path): content for path, content in files.items()}
        for path, target in inside.items():
            place = cell_path(cell, path)
            goal = (
                target
                if target.startswith('../')
                else os.path.relpath(f'{SHARED}/{target}', os.path.dirname(place))
            )
            plan.links[place] = PurePosixPath(goal).as_posix()
    return plan


def write_extras(out: Path, plan: Extras) -> dict[str, FileDigest]:
    """Create files and links, except those that are already right.

    Returns:
        Stamps of the files.

    Raises:
        OSError: If writing fails, or a real folder is where a link should be.
    """
    stamps = {}
    for path, content in plan.files.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        stamps[path] = stamp(data)
        if not _holds(out / path, data):
            write_whole(out, path, data)
    for path, target in plan.links.items():
        if check_link(out, path, target) is not None:
            link(out, path, target)
    return stamps


def check_link(out: Path, path: str, target: str) -> str | None:
    """What is wrong with a link: ``'missing'``, ``'damaged'`` or None."""
    place = out / path
    try:
        return None if os.readlink(place) == target else 'damaged'
    except OSError:
        return 'damaged' if os.path.lexists(place) else 'missing'


def _cell_files(source: Source, kept: Sequence[str], *, format: str) -> Mapping[str, bytes | Path]:
    if source.layout == 'voc':
        folder, split = source.description['folder'], source.description['split']
        by_id = {item.image_id: item for item in source.items}
        files: dict[str, bytes | Path] = {
            f'{folder}/ImageSets/Main/{split}.txt': ''.join(f'{name}\n' for name in kept).encode()
        }
        for name in kept:
            annotation = by_id[name].annotation
            assert annotation is not None
            files[f'{folder}/Annotations/{name}.xml'] = annotation
        return files
    if source.layout == 'coco':
        assert source.annotation_file is not None
        return {source.annotation_file: annotations_of(source, kept, format=format)}
    return {}


def _cell_links(source: Source) -> Mapping[str, str]:
    """Links of a cell: to a path below the shared folder, or, with ``../``, inside the cell."""
    if source.layout == 'voc':
        folder = source.description['folder']
        return {
            f'{folder}/Annotations': f'{folder}/Annotations',
            f'{folder}/ImageSets': f'{folder}/ImageSets',
            # torchvision's VOCDetection looks for VOCdevkit/VOC2007 below its root.
            f'VOCdevkit/{folder}': f'../{folder}',
        }
    if source.layout == 'coco':
        assert source.annotation_file is not None
        return {source.annotation_file: source.annotation_file}
    return {}


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
