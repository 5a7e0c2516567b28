"""The log history of a checkpoint as plain tensors.

MMEngine pickles its ``HistoryBuffer`` objects, which ``torch.load(weights_only=True)`` rejects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_MARK = 'adasap_det.history'


def to_plain_history(state: dict[str, Any]) -> dict[str, Any]:
    """A message hub's state with tensors in place of history buffers and NumPy numbers.

    MMEngine without this package loads it too, with a warning that it skips the log history.
    """
    scalars = {
        key: {
            _MARK: True,
            'log': torch.as_tensor(np.asarray(value._log_history, dtype=np.float64)),
            'count': torch.as_tensor(np.asarray(value._count_history, dtype=np.int64)),
            'max_length': int(value.max_length),
        }
        if isinstance(value, HistoryBuffer)
        else value
        for key, value in state['log_scalars'].items()
    }
    info = {key: _plain(value) for key, value in state['runtime_info'].items()}
    return {**state, 'log_scalars': scalars, 'runtime_info': info}


def restore_history(state: dict[str, Any]) -> dict[str, Any]:
    """The reverse of :func:`to_plain_history`; other states are returned unchanged."""
    if not isinstance(state, dict) or 'log_scalars' not in state:
        return state
    scalars = {
        key: HistoryBuffer(
            value['log'].tolist(), value['count'].tolist(), max_length=value['max_length']
        )
        if isinstance(value, dict) and value.get(_MARK)
        else value
        for key, value in state['log_scalars'].items()
    }
    return {**state, 'log_scalars': scalars}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(v) for v in value)
    return value
