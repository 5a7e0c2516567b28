"""Save and restore the state of all random number generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass
class RandomState:
    """State of every random number generator that a model or a sampler may draw from."""

    python: Any
    numpy: Any
    torch_cpu: Tensor
    torch_device: dict[int, Tensor]

    @classmethod
    def capture(cls) -> RandomState:
        """Return the current state, of the CPU and, if CUDA is in use, its current device."""
        device = {}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            index = torch.cuda.current_device()
            device[index] = torch.cuda.get_rng_state(index)
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), device)

    @classmethod
    def seeded(cls, seed: int) -> RandomState:
        """Return the state after seeding the same generators, without seeding them."""
        devices = {
            index: torch.Generator(f'cuda:{index}').manual_seed(seed).get_state()
            for index in cls.capture().torch_device
        }
        return cls(
            random.Random(seed).getstate(),
            np.random.RandomState(seed).get_state(),
            torch.Generator().manual_seed(seed).get_state(),
            devices,
        )

    def restore(self) -> None:
        """Restore this state."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch_cpu)
        for index, state in self.torch_device.items():
            torch.cuda.set_rng_state(state, index)


@contextmanager
def same_randomness(state: RandomState) -> Iterator[None]:
    """Draw from ``state`` inside; restore the generators' own state afterwards."""
    outside = RandomState.capture()
    state.restore()
    try:
        yield
    finally:
        outside.restore()
