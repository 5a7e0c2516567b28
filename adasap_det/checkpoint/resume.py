"""The checkpoint to resume from, when the last one may be broken.

MMEngine writes the name of the newest checkpoint to the text file ``last_checkpoint``, and writes
both in place: a run that is killed, or a full disk, leaves an empty text file, the name of a
missing file, or a truncated checkpoint.
"""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log

_NOTE = 'last_checkpoint'


def find_resumable_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a run that can be read.

    That is the one named in ``last_checkpoint`` if it can be read, else the newest other
    ``*.pth`` of the folder that holds an optimizer (``best_*.pth`` do not); the reason is logged.

    Args:
        work_dir: Folder of the run.

    Returns:
        Path of the checkpoint, None if the folder has none.
    """
    work_dir = Path(work_dir)
    noted = _noted_checkpoint(work_dir)
    reason = None
    if noted is not None:
        reason = checkpoint_problem(noted)
        if reason is None:
            return str(noted)
        reason = f'{noted} {reason}'
    elif (work_dir / _NOTE).is_file():
        reason = f'{work_dir / _NOTE} is empty'
    for path in _newest_first(work_dir):
        if path == noted:
            continue
        problem = checkpoint_problem(path, needs=('optimizer',))
        if problem is None:
            if reason is not None:
                _warn(f'{reason}; resuming from {path} instead')
            return str(path)
        _warn(f'skipping {path}: it {problem}')
    if reason is not None:
        _warn(f'{reason}, and {work_dir} has no other checkpoint to resume from')
    return None


def checkpoint_problem(path: str | Path, *, needs: tuple[str, ...] = ()) -> str | None:
    """The problem of a checkpoint file, if any.

    Args:
        path: File, as MMEngine's ``save_checkpoint`` writes it.
        needs: Entries it must have.

    Returns:
        A phrase to follow the file's name, such as "cannot be read (...)"; None if it is fine.
    """
    path = Path(path)
    if not path.is_file():
        return 'does not exist'
    try:
        checkpoint = _load(path)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        return f'cannot be read ({_first_sentence(error)}); it may be truncated'
    missing = [key for key in needs if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        return f'has no {", ".join(missing)} to resume from'
    return None


def _load(path: Path) -> Any:
    # A training checkpoint of MMEngine pickles its log history, which weights_only rejects.
    # The file is the user's own: it is about to be resumed from, or was given by name.
    return torch.load(path, map_location='cpu', weights_only=False)


def _noted_checkpoint(work_dir: Path) -> Path | None:
    note = work_dir / _NOTE
    if not note.is_file():
        return None
    text = note.read_text(errors='replace').strip()
    if not text:
        return None
    noted = Path(text)
    # The folder may have been moved since, or the name be relative to another directory.
    in_folder = work_dir / noted.name
    return in_folder if not noted.is_file() and in_folder.is_file() else noted


def _newest_first(work_dir: Path) -> Iterator[Path]:
    def age(path: Path) -> tuple[int, int]:
        number = re.search(r'(\d+)\.pth$', path.name)
        return path.stat().st_mtime_ns, int(number[1]) if number else -1

    yield from sorted(work_dir.glob('*.pth'), key=age, reverse=True)


def _first_sentence(error: Exception) -> str:
    """PyTorch's messages run to paragraphs."""
    return re.split(r'\n|\. ', str(error).strip())[0] or type(error).__name__


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
