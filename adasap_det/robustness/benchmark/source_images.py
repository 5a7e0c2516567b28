"""The clean data set: its images and their paths in a cell."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.utils.plural import counted

LAYOUTS = ('voc', 'coco', 'folder')
_SHOWN = 5


@dataclass(frozen=True)
class SourceImage:
    """One image of the source.

    Attributes:
        image_id: Name of the image, which seeds its corruptions: the stem of the file in the VOC
            layout, ``file_name`` in the COCO layout, the path below the root of an image folder.
        path: File of the image.
        target: Path of its corrupted version in a cell, with ``/`` between the parts, and with the
            suffix of the source.
        annotation: File of its annotation, if it has its own.
    """

    image_id: str
    path: Path
    target: str
    annotation: Path | None = None


@dataclass(frozen=True)
class Source:
    """Images and annotations of one data set.

    Attributes:
        layout: ``'voc'``, ``'coco'`` or ``'folder'``.
        root: Folder to which paths in messages are relative.
        description: Description of this source in a manifest, the same on every machine: names of
            its folder, split or annotation file, but no absolute path.
        images: Images to corrupt, in the order of the source.
        problems: Problems of the unusable images, by image id.
        annotation_file: COCO annotation file, relative to a cell.
        annotations: Content of the COCO annotation file.
        annotation_bytes: The same as bytes.
    """

    layout: str
    root: Path
    description: Mapping[str, str]
    images: tuple[SourceImage, ...]
    problems: Mapping[str, str] = field(default_factory=dict)
    annotation_file: str | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)
    annotation_bytes: bytes = b''

    @property
    def all_ids(self) -> tuple[str, ...]:
        """Ids of all images, usable or not."""
        return (*(image.image_id for image in self.images), *self.problems)


def folder_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a folder in configs.

    That is the real name of ``'.'``, but the link's name of a symbolic link.
    """
    return Path(os.path.abspath(path)).name


def check_folder(path: Path, remedy: str) -> None:
    """Raise a BenchmarkError with the path and the remedy unless the folder exists."""
    if path.is_dir():
        return
    if path.exists():
        raise BenchmarkError(f'{path} is a file where a folder should be; {remedy}')
    raise BenchmarkError(f'the folder {path} does not exist; {remedy}')


def check_relative(path: str, where: str) -> str:
    """Return a path from a list or annotation file if it is inside the data set.

    Raises:
        BenchmarkError: If it is not.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith('/') or '..' in parts or '\0' in path or '\\' in path:
        raise BenchmarkError(f'{where} names {path!r}, which is not a path inside the data set')
    check_utf8(path, where)
    return path


def check_utf8(path: str, where: str) -> None:
    """Raise a BenchmarkError if the path cannot be written to lists and manifests."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise BenchmarkError(f'{where}: the file name {path!r} is not UTF-8; rename it') from None


def duplicates(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def check_problems(source: Source) -> None:
    """Check that all images of a source are usable.

    Raises:
        BenchmarkError: If some are not, with their number and the first of them.
    """
    problems = source.problems
    if problems:
        shown = '\n  '.join(f'{name}: {text}' for name, text in [*problems.items()][:_SHOWN])
        more = len(problems) - _SHOWN
        raise BenchmarkError(
            f'{counted(len(problems), "image")} of {source.root} cannot be used:\n  {shown}'
            + (f'\n  and {more} more' if more > 0 else '')
            + '\nRepair them, or leave them out with --on-error skip'
        )


def choose_subset(source: Source, subset: int | str | os.PathLike[str], *, seed: int) -> Source:
    """Return a source with some of the images, in the same order.

    Args:
        source: The full source.
        subset: Number of images, drawn by ``seed`` such that a larger subset contains the smaller
            ones; or a text file with one image id per line.
        seed: Seed of the draw.

    Raises:
        BenchmarkError: If the number is not positive, or the file is missing, empty, or lists an
            image twice or one that is not in the source.
    """
    ids = source.all_ids
    if isinstance(subset, int):
        if subset < 1:
            raise BenchmarkError(f'subset is {subset}; give at least 1')
        chosen = set(sorted(ids, key=lambda name: _draw(name, seed))[:subset])
    else:
        chosen = set(_read_ids(Path(subset), ids))
    return Source(
        layout=source.layout,
        root=source.root,
        description=source.description,
        images=tuple(image for image in source.images if image.image_id in chosen),
        problems={name: text for name, text in source.problems.items() if name in chosen},
        annotation_file=source.annotation_file,
        annotations=source.annotations,
        annotation_bytes=source.annotation_bytes,
    )


def _draw(image_id: str, seed: int) -> bytes:
    return hashlib.sha256(f'subset/{seed}/{image_id}'.encode()).digest()


def _read_ids(path: Path, known: Iterable[str]) -> list[str]:
    try:
        lines = path.read_text('utf-8-sig').splitlines()
    except (OSError, UnicodeError) as error:
        raise BenchmarkError(
            f'the subset {str(path)!r} is neither a number nor a readable text file ({error})'
        ) from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise BenchmarkError(f'{path} is empty; it needs one image id per line')
    twice = duplicates(names)
    if twice:
        raise BenchmarkError(f'{path} lists {twice[0]!r} twice; remove one of the lines')
    known = set(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchmarkError(
            f'{path} lists images that are not in the source: {len(unknown)}, the first is '
            f'{unknown[0]!r}'
        )
    return names
