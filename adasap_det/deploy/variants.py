"""Ways to run a network, for a benchmark."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from .onnx_export import export_onnx, onnx_outputs, onnx_session

VARIANTS = ('eager', 'channels-last', 'bf16', 'compile', 'onnxruntime')


def runnable(
    graph: nn.Module, variant: str, images: Tensor, *, device: torch.device
) -> Callable[[], object]:
    """A call without arguments that runs the network on the images.

    Args:
        graph: See :func:`~adasap_det.deploy.make_graph`.
        variant: One of ``VARIANTS``. ``onnxruntime`` runs on the CPU.
        images: Shape ``(N, 3, H, W)``.
        device: Where PyTorch runs.

    Raises:
        ValueError: If the variant is unknown.
        RuntimeError: If it does not work here; says why.
    """
    if variant not in VARIANTS:
        raise ValueError(f'{variant!r} is no way to run a network; there are {", ".join(VARIANTS)}')
    if variant == 'onnxruntime':
        return _onnx(graph, images)
    network: Any = copy.deepcopy(graph).to(device).eval()
    images = images.to(device)
    if variant == 'channels-last':
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    elif variant == 'bf16':
        network = network.to(torch.bfloat16)
        images = images.to(torch.bfloat16)
    elif variant == 'compile':
        network = torch.compile(network)
        try:
            with torch.inference_mode():
                network(images)
        except Exception as error:
            raise RuntimeError(f'torch.compile: {_line(error)}') from error
    return lambda: network(images)


def _onnx(graph: nn.Module, images: Tensor) -> Callable[[], object]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'network.onnx'
        height, width = images.shape[-2:]
        export_onnx(graph, path, input_size=(height, width), dynamic_batch=True)
        session = onnx_session(path)
    return lambda: onnx_outputs(session, images)


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
