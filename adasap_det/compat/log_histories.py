"""Load MMEngine's own checkpoints with ``weights_only=True`` (mmengine 0.10.7 and before).

That is the default of ``torch.load`` from PyTorch 2.6 on.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_METHODS = ('min', 'max', 'current', 'mean')  # as HistoryBuffer registers them


def let_log_histories_load() -> None:
    """Let MMEngine 0.10.7 read the log history in its own checkpoints.

    Changes nothing for onedl-mmengine, which falls back to unrestricted pickle, and for PyTorch
    before 2.6, which uses it by default.
    """
    from mmengine.runner import checkpoint

    if hasattr(checkpoint, '_safe_torch_load') or not loads_weights_only():
        return
    torch.serialization.add_safe_globals(globals_of_log_histories())


def loads_weights_only() -> bool:
    """Return whether ``torch.load`` restricts pickle by default."""
    return tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6)


def globals_of_log_histories() -> list[Any]:
    """Return the globals that ``torch.serialization.safe_globals`` needs for ``HistoryBuffer``.

    A history holds NumPy arrays and references to four of its own methods, which are pickled as
    calls of ``getattr``; no other attribute is allowed.
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
            # NumPy 1 writes the first package name, NumPy 2 the second.
            (getattr(multiarray, name), f'{package}.multiarray.{name}')
            for name in ('_reconstruct', 'scalar')
            for package in ('numpy.core', 'numpy._core')
        ),
        (method_of_history, 'builtins.getattr'),
    ]
