"""MMEngine's own checkpoints under PyTorch 2.6 and later, which load with ``weights_only=True``."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_METHODS = ('min', 'max', 'current', 'mean')  # as HistoryBuffer registers them


def let_log_histories_load() -> None:
    """Let MMEngine 0.10.7 read the log history in its own checkpoints.

    The maintained line reads such a file a second time, with all that pickle allows; there, and
    with PyTorch before 2.6, which does so at once, nothing is changed.
    """
    from mmengine.runner import checkpoint

    if hasattr(checkpoint, '_safe_torch_load') or not loads_weights_only():
        return
    torch.serialization.add_safe_globals(globals_of_log_histories())


def loads_weights_only() -> bool:
    """Whether ``torch.load`` refuses most of what pickle allows unless told otherwise."""
    return tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6)


def globals_of_log_histories() -> list[Any]:
    """What ``torch.serialization.safe_globals`` needs for ``HistoryBuffer``, and nothing more.

    A history holds NumPy arrays and references to four of its own methods, which pickle as
    calls of ``getattr``.
    """

    def method_of_history(owner: Any, name: str) -> Any:
        if owner is not HistoryBuffer or name not in _METHODS:
            raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')
        return getattr(owner, name)

    multiarray = (getattr(np, '_core', None) or np.core).multiarray
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'bool')),
        *(
            # NumPy 1 writes the first of the names, NumPy 2 the second.
            (getattr(multiarray, name), f'{package}.multiarray.{name}')
            for name in ('_reconstruct', 'scalar')
            for package in ('numpy.core', 'numpy._core')
        ),
        (method_of_history, 'builtins.getattr'),
    ]
