"""Read a folder of images, with one subfolder per class or any other structure."""

from __future__ import annotations

import os
from pathlib import Path

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.image_codec import SUFFIXES
from adasap_det.robustness.benchmark.source_images import (
    Source,
    SourceImage,
    check_folder,
    check_utf8,
    folder_name,
)


def folder_source(root: str | os.PathLike[str]) -> Source:
    """Return every image below a folder, as torchvision's ``ImageFolder`` reads them.

    Hidden files and folders and files without the suffix of an image are left out.

    Args:
        root: The folder, for example with ``<class>/<image>`` below it.

    Raises:
        BenchmarkError: If the folder does not exist or contains no image, if a folder in it cannot
            be read or links to one that contains it, or if a name is not UTF-8.
    """
    base = Path(root)
    check_folder(base, 'give the folder of the images with --source')
    found = []
    for folder, subfolders, files in os.walk(base, followlinks=True, onerror=_raise_unreadable):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in subfolders:
            _check_no_loop(Path(folder), name)
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith('.'):
                check_utf8(name, folder)
                found.append(Path(folder) / name)
    if not found:
        raise BenchmarkError(f'{base} contains no images ({", ".join(SUFFIXES)})')
    relative = sorted((path.relative_to(base).as_posix(), path) for path in found)
    return Source(
        layout='folder',
        root=base,
        description={'layout': 'folder', 'folder': folder_name(base)},
        images=tuple(SourceImage(name, path, name) for name, path in relative),
    )


def _raise_unreadable(error: OSError) -> None:
    raise BenchmarkError(f'{error.filename} cannot be read ({error.strerror})')


def _check_no_loop(folder: Path, name: str) -> None:
    path = folder / name
    if not path.is_symlink():
        return
    target = path.resolve()
    if any(above.resolve().is_relative_to(target) for above in (folder, *folder.parents)):
        raise BenchmarkError(f'{path} links to a folder that contains it; remove the link')
