"""Reads a folder of images, one folder a class or any other way."""

from __future__ import annotations

import os
from pathlib import Path

from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.image_codec import SUFFIXES
from adasap_det.robustness.benchmark.source_images import (
    Source,
    SourceImage,
    folder_name,
    require_folder,
)


def folder_source(root: str | os.PathLike[str]) -> Source:
    """Every image below a folder, as torchvision's ``ImageFolder`` and others read them.

    Hidden files, and files without an image's suffix, are left out.

    Args:
        root: The folder; ``<class>/<image>`` lies below it.

    Raises:
        BenchmarkError: If the folder does not exist or holds no image.
    """
    base = Path(root)
    require_folder(base, 'give the folder of the images with --source')
    found = []
    for folder, subfolders, files in os.walk(base, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith('.'):
                found.append(Path(folder) / name)
    if not found:
        raise BenchmarkError(f'{base} holds no image ({", ".join(SUFFIXES)})')
    relative = sorted((path.relative_to(base).as_posix(), path) for path in found)
    return Source(
        layout='folder',
        root=base,
        description={'layout': 'folder', 'folder': folder_name(base)},
        items=tuple(SourceImage(name, path, name) for name, path in relative),
    )
