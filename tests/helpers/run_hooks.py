"""Kill training processes at a given moment; loaded by ``custom_imports``.

The environment variable ``KILL`` gives the moment. Of several ranks the first is killed, or that in
``KILL_RANK``:

======================  ===========================================================
``iter 9``              before iteration 9, after a prune step before it
``iter 9 0.4``          in iteration 9, after 40 % of the previous iteration's time
``half epoch_3``        when the file with this prefix is half-written
``replace epoch_3``     when it is written, before it is renamed
``prune 1``             in the second prune step, when all tensors are pruned
``prune 1 40``          in the second prune step, when 40 tensors are pruned
``worker 5``            before iteration 5, only the data loader's workers
======================  ===========================================================

``FULL_DISK=epoch_2`` raises the error of a full disk when half of that file is written.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mmengine.hooks.checkpoint_hook as checkpoint_hook
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

import adasap_det.checkpoint.atomic_backend as atomic_backend
import adasap_det.pruning.pruner as pruner
import adasap_det.pruning.surgery as surgery
from adasap_det.utils.modules import unwrap

WHAT, WHEN, HOW_FAR, *_ = [*os.environ.get('KILL', '').split(), '', '', '']
FULL_DISK = os.environ.get('FULL_DISK', '')
if os.environ.get('KILL_RANK', '0') != os.environ.get('RANK', '0'):
    WHAT = ''


def die() -> None:
    """Die as by ``kill -9``; write the iteration and :func:`place` to ``KILL_NOTE`` before."""
    if 'KILL_NOTE' in os.environ:
        Path(os.environ['KILL_NOTE']).write_text(f'{KillHook.iteration} {place()}')
    os.kill(os.getpid(), signal.SIGKILL)


def place() -> str:
    """Return the innermost function of OpenMMLab or ours in the main thread: ``file:function``."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        package = {'adasap_det', 'mmengine', 'mmdet', 'mmcv'} & set(path.parts)
        if package and path != Path(__file__):
            return f'{path.name}:{frame.f_code.co_name}'
        frame = frame.f_back
    return 'elsewhere'


@HOOKS.register_module()
class KillHook(Hook):
    """Kill at an iteration."""

    iteration = 0
    begun = 0.0
    took = 0.0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        KillHook.iteration = runner.iter
        self.begun = time.perf_counter()
        if WHAT not in ('iter', 'worker') or runner.iter != int(WHEN):
            return
        if WHAT == 'worker':
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)
        elif HOW_FAR:
            threading.Timer(float(HOW_FAR) * self.took, die).start()
        else:
            die()

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.took = time.perf_counter() - self.begun


@HOOKS.register_module()
class HashHook(Hook):
    """Write a hash of each rank's parameters and their shapes to ``hash<rank>.txt``."""

    def after_train(self, runner: Runner) -> None:
        digest = hashlib.sha256()
        for name, parameter in unwrap(runner.model).named_parameters():
            digest.update(f'{name} {tuple(parameter.shape)} '.encode())
            digest.update(parameter.detach().numpy().tobytes())
        Path(runner.work_dir, f'hash{runner.rank}.txt').write_text(digest.hexdigest())


class Steps:
    """Progress of the prune steps."""

    done = 0
    tensors: int | None = None  # pruned in the current step


def open_by_half(path: str | Path, *args: Any, **options: Any) -> Any:
    """Python's ``open``, except that the file in question is written by half."""
    file = builtins.open(path, *args, **options)  # noqa: SIM115
    name = os.path.basename(path).removeprefix('.')  # of the temporary file, or of the file
    killed = WHAT == 'half' and name.startswith(WHEN)
    full = FULL_DISK and name.startswith(FULL_DISK)
    if killed or full:
        write = file.write

        def write_by_half(content: Any) -> None:
            write(content[: len(content) // 2])
            file.flush()
            if killed:
                die()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return _Written(file, write_by_half)
    return file


class _Written:
    """File with a replaced ``write``."""

    def __init__(self, file: Any, write: Any) -> None:
        self.file = file
        self.write = write

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def replace_or_die(source: str, target: str, **options: Any) -> None:
    if WHAT == 'replace' and os.path.basename(target).startswith(WHEN):
        die()
    _replace(source, target, **options)


def prune_or_die(*args: Any, **options: Any) -> Any:
    Steps.tensors = 0
    groups = _prune_selected(*args, **options)
    if WHAT == 'prune' and not HOW_FAR and Steps.done == int(WHEN):
        die()
    Steps.done += 1
    Steps.tensors = None
    return groups


def gather_or_die(*args: Any) -> Any:
    # Trial pruning of copies, during the search for channel groups, is not counted.
    if Steps.tensors is not None:
        if WHAT == 'prune' and f'{Steps.done} {Steps.tensors}' == f'{WHEN} {HOW_FAR}':
            die()
        Steps.tensors += 1
    return _gather(*args)


_replace, _prune_selected, _gather = os.replace, pruner.prune_selected, surgery._gather
os.replace = replace_or_die
pruner.prune_selected = prune_or_die
surgery._gather = gather_or_die
for module in (atomic_backend, checkpoint_hook):
    module.open = open_by_half
