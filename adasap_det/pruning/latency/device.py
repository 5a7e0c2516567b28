"""What a time was measured on."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def device_identity(device: torch.device) -> dict[str, str]:
    """What must be the same for times to be comparable.

    Returns:
        ``device`` (its model), ``threads`` (of the CPU) and ``torch`` (its version, with those of
        CUDA and cuDNN on a GPU).
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
    """Model of the CPU, and the vector units that its kernels use."""
    name = platform.processor() or platform.machine()
    if info.is_file():
        found = re.search(r'model name\s*:\s*(.+)', info.read_text(errors='replace'))
        name = found[1].strip() if found else name
    return f'{name}, {torch.backends.cpu.get_cpu_capability()}'
