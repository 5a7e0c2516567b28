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

LAYOUTS = ('voc', 'coco', 'folder')
_SHOWN = 5


@dataclass(frozen=True)
class SourceImage:
    """One image of the source.

    Attributes:
        image_id: Names the image, and seeds its corruptions: the file's stem in VOC's layout,
            ``file_name`` in COCO's, the path below the root of an image folder.
        path: The file.
        target: Where its corrupted version lies in a cell, with ``/`` between the parts, and the
            suffix of the source.
        annotation: Its own annotation's file, if it has one.
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
        root: Folder that the paths in messages are relative to.
        description: What names this source in a manifest, the same on every machine: the names of
            its folder, split or annotation file, but no absolute path.
        items: Images that can be tried, in the order of the source.
        problems: What is wrong with the others, by image id.
        annotation_file: COCO's, relative to a cell.
        annotations: What COCO's file holds.
        annotation_bytes: The same as it lies in the file.
    """

    layout: str
    root: Path
    description: Mapping[str, str]
    items: tuple[SourceImage, ...]
    problems: Mapping[str, str] = field(default_factory=dict)
    annotation_file: str | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)
    annotation_bytes: bytes = b''

    @property
    def all_ids(self) -> tuple[str, ...]:
        """The usable and the others, each once."""
        return (*(item.image_id for item in self.items), *self.problems)


def folder_name(path: str | os.PathLike[str]) -> str:
    """What configs call a folder: its own name where it is reached as ``'.'``, the link's where it
    is one."""
    return Path(os.path.abspath(path)).name


def require_folder(path: Path, remedy: str) -> None:
    """Check that a folder exists; the BenchmarkError names it."""
    if path.is_dir():
        return
    if path.exists():
        raise BenchmarkError(f'{path} is a file where a folder should be; {remedy}')
    raise BenchmarkError(f'the folder {path} does not exist; {remedy}')


def check_relative(path: str, where: str) -> str:
    """A path from a data set's own files, which must not lead out of the data set.

    Raises:
        BenchmarkError: If it does.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith('/') or '..' in parts or '\0' in path or '\\' in path:
        raise BenchmarkError(f'{where} names {path!r}, which is no path inside the data set')
    return path


def repeated(names: Iterable[str]) -> list[str]:
    """Those that occur more than once, each once."""
    return [name for name, count in Counter(names).items() if count > 1]


def check_problems(source: Source) -> None:
    """Say which images cannot be used, if any.

    Raises:
        BenchmarkError: Their number, the first of them, and what can be done.
    """
    problems = source.problems
    if problems:
        shown = '\n  '.join(f'{name}: {text}' for name, text in [*problems.items()][:_SHOWN])
        more = len(problems) - _SHOWN
        raise BenchmarkError(
            f'{len(problems)} images of {source.root} cannot be used:\n  {shown}'
            + (f'\n  and {more} more' if more > 0 else '')
            + '\nRepair them, or leave them out with --on-error skip'
        )


def choose_subset(source: Source, subset: int | str | os.PathLike[str], *, seed: int) -> Source:
    """Leave a part of a source.

    Args:
        source: The whole.
        subset: So many images, drawn by ``seed`` such that the larger subset holds the smaller
            one; or a text file with an image id a line. The order stays that of the source.
        seed: Of the draw.

    Raises:
        BenchmarkError: If the number is not positive, or the file is missing, empty, names an
            image twice or one that the source has not.
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
        items=tuple(item for item in source.items if item.image_id in chosen),
        problems={name: text for name, text in source.problems.items() if name in chosen},
        annotation_file=source.annotation_file,
        annotations=source.annotations,
        annotation_bytes=source.annotation_bytes,
    )


def _draw(image_id: str, seed: int) -> bytes:
    return hashlib.sha256(f'subset/{seed}/{image_id}'.encode()).digest()


def _read_ids(path: Path, known: Iterable[str]) -> list[str]:
    try:
        lines = path.read_text('utf-8').splitlines()
    except (OSError, UnicodeError) as error:
        raise BenchmarkError(
            f'the subset {str(path)!r} is neither a number nor a readable text file ({error})'
        ) from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise BenchmarkError(f'{path} is empty; write one image id a line into it')
    twice = repeated(names)
    if twice:
        raise BenchmarkError(f'{path} lists {twice[0]!r} twice; leave it once')
    known = set(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchmarkError(
            f'{path} lists {len(unknown)} images that the source does not have, the first is '
            f'{unknown[0]!r}'
        )
    return names
