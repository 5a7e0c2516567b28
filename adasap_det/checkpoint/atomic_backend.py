"""A storage backend whose files are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """Local files that are never half-written, not even by a run that is killed.

    For checkpoints: ``default_hooks=dict(checkpoint=dict(backend_args=dict(backend='atomic')))``.
    Data goes to a temporary file in the same folder, to the disk, and then takes the name in one
    step, so a reader sees the old file or the new one. A killed process can leave its temporary
    file behind, ``<name>.<process id>.tmp``; it does no harm and may be deleted.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; folders are made as needed.

        Args:
            obj: Data.
            filepath: Where to. Of a symbolic link the target is replaced, not the link.

        Raises:
            OSError: If it cannot be written, with its name; above all because the disk is full.
        """
        target = os.path.realpath(filepath)
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        # Not tempfile: its files are for the owner alone, checkpoints have the usual rights.
        temporary = f'{target}.{os.getpid()}.tmp'
        try:
            with open(temporary, 'wb') as file:
                file.write(obj)
                file.flush()
                # Without it, some file systems rename before the data is on the disk.
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException as error:
            if os.path.exists(temporary):
                os.unlink(temporary)
            if isinstance(error, OSError) and error.strerror and error.filename is None:
                # A failed write does not say of which file.
                raise OSError(
                    error.errno,
                    f'{error.strerror} while writing {len(obj) / 1e6:,.1f} MB; '
                    f'no part of them is left, and files written before are whole',
                    target,
                ) from error
            raise
        _sync_folder(folder)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)


def _sync_folder(folder: str) -> None:
    """Make the new name survive a power cut, where the system can."""
    if os.name != 'posix':
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse to sync a folder; the file itself is safe
    finally:
        os.close(descriptor)
