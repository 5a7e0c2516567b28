"""The device that a tool runs on, and its description in measurements."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch

_KINDS = ('cpu', 'cuda')


def usable_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: ``'cpu'``, ``'cuda'``, or ``'cuda:1'`` for one of several GPUs.

    Raises:
        ValueError: If the name is no device or the device is not available. Accelerators other
            than CUDA are rejected: timing does not synchronise them, so times would be wrong.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in _KINDS:
        raise ValueError(f'device {name!r} is not one of {", ".join(_KINDS)}; give one of them')
    if device.type == 'cuda':
        found = torch.cuda.device_count()
        if not found:
            raise ValueError(f"device {name!r}: PyTorch finds no GPU; give 'cpu'")
        if (device.index or 0) >= found:
            raise ValueError(f"device {name!r}: the last GPU here is 'cuda:{found - 1}'; give that")
    return device


def device_identity(device: torch.device) -> dict[str, str]:
    """Describe what must be equal for times to be comparable.

    Returns:
        ``device`` (the model), ``threads`` (of the CPU) and ``torch`` (the version, on a GPU with
        those of CUDA and cuDNN).
    """
    if device.type == 'cuda':
        return {
            'device': torch.cuda.get_device_name(device),
            'threads': '-',
            'torch': f'{torch.__version__}, cuda {torch.version.cuda}, '
            f'cudnn {torch.backends.cudnn.version()}',
        }
    return {
        'device': cpu_name(),
        'threads': str(torch.get_num_threads()),
        'torch': torch.__version__,
    }


def cpu_name(info: Path = Path('/proc/cpuinfo')) -> str:
    """Return the model of the CPU and the vector instructions that PyTorch's kernels use."""
    name = platform.processor() or platform.machine()
    if info.is_file():
        found = re.search(r'model name\s*:\s*(.+)', info.read_text(errors='replace'))
        name = found[1].strip() if found else name
    return f'{name}, {torch.backends.cpu.get_cpu_capability()}'
