"""Scalars for the log that are read from the device together, not in every step."""

from __future__ import annotations

import torch
from mmengine.logging import MessageHub
from torch import Tensor

FLUSH_INTERVAL = 10
"""Iterations between two readings; log intervals are multiples of it."""


class DeferredScalars:
    """Collects scalars and hands them to MMEngine's message hub.

    ``MessageHub.update_scalar`` waits for the device. On the CPU scalars are handed over at once;
    on other devices all at the end of every tenth iteration, with one wait for all of them.

    Args:
        message_hub: Where they go.
    """

    def __init__(self, message_hub: MessageHub) -> None:
        self._message_hub = message_hub
        self._names: list[str] = []
        self._values: list[Tensor] = []

    def add(self, **scalars: Tensor) -> None:
        """Add values of this iteration; the names get the prefix ``train/``."""
        for name, value in scalars.items():
            self._names.append(f'train/{name}')
            self._values.append(value.detach().float())
        if all(value.device.type == 'cpu' for value in scalars.values()):
            self.flush()

    def end_iteration(self) -> None:
        """Hand over what is left, at the end of every tenth iteration."""
        if self._is_last_before_log():
            self.flush()

    def flush(self) -> None:
        """Hand over what has been collected, in its order."""
        if not self._values:
            return
        for name, value in zip(self._names, torch.stack(self._values).tolist(), strict=True):
            self._message_hub.update_scalar(name, value)
        self._names, self._values = [], []

    def _is_last_before_log(self) -> bool:
        iteration = int(self._message_hub.get_info('iter') or 0)
        return (iteration + 1) % FLUSH_INTERVAL == 0
