"""The device that a tool was told to run on."""

from __future__ import annotations

import torch

_KINDS = ('cpu', 'cuda')


def usable_device(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: ``'cpu'``, ``'cuda'``, or ``'cuda:1'`` for one of several GPUs.

    Raises:
        ValueError: If the name is no device, or none that is here. Other accelerators are
            refused: nothing waits for them, so that times would be wrong.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in _KINDS:
        raise ValueError(f'device {name!r} is none of {", ".join(_KINDS)}; give one of them')
    if device.type == 'cuda':
        found = torch.cuda.device_count()
        if not found:
            raise ValueError(f"device {name!r}: PyTorch finds no GPU; give 'cpu'")
        if (device.index or 0) >= found:
            raise ValueError(f"device {name!r}: the last GPU here is 'cuda:{found - 1}'; give that")
    return device
