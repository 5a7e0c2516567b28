"""How OpenMP's threads wait for each other. Must be set before PyTorch is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_POLICY = 'OMP_WAIT_POLICY'
_CHOSEN_BY_USER = (_POLICY, 'GOMP_SPINCOUNT', 'OMP_NUM_THREADS')


def let_threads_sleep() -> str | None:
    """Let OpenMP's threads sleep, not spin, while they wait for each other.

    On a CPU every layer of a network ends with such a wait. Threads that spin hold their core: as
    soon as another process needs it, the thread that is waited for doesn't get it, and small
    networks train five to eight times slower. See ``benchmarks/README.md``, "Training on a busy
    CPU".

    Nothing is changed on other systems than Linux, where there is a GPU, where PyTorch has been
    imported, or where the user has set one of ``OMP_WAIT_POLICY``, ``GOMP_SPINCOUNT`` and
    ``OMP_NUM_THREADS``, as ``torchrun`` does too.

    Returns:
        A line for the log; None if nothing was changed.
    """
    if sys.platform != 'linux' or 'torch' in sys.modules or has_gpu():
        return None
    if any(name in os.environ for name in _CHOSEN_BY_USER):
        return None
    os.environ[_POLICY] = 'PASSIVE'
    return (
        f'{_POLICY}=PASSIVE: threads sleep while they wait for each other, so that other processes '
        f'slow training down less; set {_POLICY}=ACTIVE to let them spin'
    )


def has_gpu(devices: Path = Path('/dev')) -> bool:
    """Return whether the Linux machine has a GPU of NVIDIA or AMD, without PyTorch.

    Under WSL 2 all GPUs are behind the file ``dxg``.
    """
    names = ('nvidia[0-9]*', 'kfd', 'dxg')
    return any(True for name in names for _ in devices.glob(name))
