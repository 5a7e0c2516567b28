"""A storage backend whose files are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from adasap_det.utils.io import atomic_write


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """Local files that are never half-written, not even by a run that is killed.

    For checkpoints: ``default_hooks=dict(checkpoint=dict(backend_args=dict(backend='atomic')))``.
    Data goes to a temporary file in the same folder, to the disk, and then takes the name in one
    step, so a reader sees the old file or the new one. A killed process can leave its temporary
    file behind, ``.<name>.<random>.tmp``; it does no harm and may be deleted.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; folders are made as needed.

        Args:
            obj: Data.
            filepath: Where to. Of a symbolic link the target is replaced, not the link.

        Raises:
            OSError: If it cannot be written, with its name; above all because the disk is full.
        """
        target = Path(os.path.realpath(filepath))
        writer = atomic_write(target, durable=True, size=len(obj))
        with writer as temporary, open(temporary, 'wb') as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)
