"""Annotations and lists that make each cell a complete data set, as links or copies."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from adasap_det.robustness.benchmark.coco_source import subset_annotations
from adasap_det.robustness.benchmark.digests import FileDigest, link, write_file
from adasap_det.robustness.benchmark.source_images import Source
from adasap_det.robustness.benchmark.worker import Cell, cell_path

#: Folder inside a benchmark with the annotations that cells link to.
SHARED = 'annotations'


@dataclass
class Extras:
    """Files and links of a benchmark besides its images, by path below the benchmark.

    Attributes:
        files: Content, or path of the file to copy.
        links: Target, relative to the link.
    """

    files: dict[str, bytes | Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def plan_extras(
    source: Source, kept: Sequence[str], cells: Sequence[Cell], *, format: str, links: bool
) -> Extras:
    """Return the files and links that cells need besides their images.

    Args:
        source: The clean data set.
        kept: Ids of the images in every cell, in order.
        cells: Cells of the benchmark.
        format: Format of the images.
        links: Whether cells link to one copy; otherwise each cell gets a copy.
    """
    files = _cell_files(source, kept, format=format)
    plan = Extras()
    if links:
        plan.files = {f'{SHARED}/{path}': content for path, content in files.items()}
        cell_links = _cell_links(source)
    else:
        cell_links = {}
    for cell in cells:
        if not links:
            plan.files |= {cell_path(cell, path): content for path, content in files.items()}
        for path, target in cell_links.items():
            link_path = cell_path(cell, path)
            relative = (
                target
                if target.startswith('../')
                else os.path.relpath(f'{SHARED}/{target}', os.path.dirname(link_path))
            )
            plan.links[link_path] = PurePosixPath(relative).as_posix()
    return plan


def write_extras(out: Path, plan: Extras) -> dict[str, FileDigest]:
    """Create missing and outdated files and links.

    Returns:
        Digests of the files.

    Raises:
        OSError: If writing fails, or a real folder is where a link should be.
    """
    digests = {}
    for path, content in plan.files.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        digests[path] = FileDigest.of(data)
        if not _has_content(out / path, data):
            write_file(out, path, data)
    for path, target in plan.links.items():
        if check_link(out, path, target) is not None:
            link(out, path, target)
    return digests


def check_link(out: Path, path: str, target: str) -> str | None:
    """Return the problem of a link, ``'missing'`` or ``'damaged'``, or None."""
    file = out / path
    try:
        return None if os.readlink(file) == target else 'damaged'
    except OSError:
        return 'damaged' if os.path.lexists(file) else 'missing'


def _cell_files(source: Source, kept: Sequence[str], *, format: str) -> Mapping[str, bytes | Path]:
    if source.layout == 'voc':
        folder, split = source.description['folder'], source.description['split']
        by_id = {image.image_id: image for image in source.images}
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
        return {source.annotation_file: subset_annotations(source, kept, format=format)}
    return {}


def _cell_links(source: Source) -> Mapping[str, str]:
    """Return targets of a cell's links: below the shared folder, or with ``../`` in the cell."""
    if source.layout == 'voc':
        folder = source.description['folder']
        return {
            f'{folder}/Annotations': f'{folder}/Annotations',
            f'{folder}/ImageSets': f'{folder}/ImageSets',
            # torchvision's VOCDetection reads VOCdevkit/VOC2007 below its root.
            f'VOCdevkit/{folder}': f'../{folder}',
        }
    if source.layout == 'coco':
        assert source.annotation_file is not None
        return {source.annotation_file: source.annotation_file}
    return {}


def _has_content(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
