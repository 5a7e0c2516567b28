"""Runtimes of a network, for the benchmark."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from .onnx import export_onnx, onnx_outputs, onnx_session

VARIANTS = ('eager', 'channels-last', 'bf16', 'int8', 'compile', 'export', 'onnxruntime')


def device_of(variant: str, device: torch.device) -> torch.device:
    """Where a way of running does so, if PyTorch runs on ``device``: onnxruntime on the CPU."""
    return torch.device('cpu') if variant == 'onnxruntime' else device


def runnable(
    graph: nn.Module, variant: str, images: Tensor, *, device: torch.device
) -> Callable[[], object]:
    """A call without arguments that runs the network on the images.

    Args:
        graph: See :func:`~adasap_det.export.make_graph`.
        variant: One of ``VARIANTS``.
        images: Shape ``(N, 3, H, W)``.
        device: Where PyTorch runs; see :func:`device_of`.

    Raises:
        ValueError: If the variant is unknown.
        RuntimeError: If it does not work here, with the reason.
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
    elif variant == 'int8':
        _quantize(network)
    elif variant in ('compile', 'export'):
        make = torch.compile if variant == 'compile' else partial(_exported, images=images)
        try:
            with torch.inference_mode():
                network = make(network)
                network(images)
        except Exception as error:
            raise RuntimeError(f'torch.{variant}: {_line(error)}') from error
    return lambda: network(images)


def _exported(network: nn.Module, *, images: Tensor) -> nn.Module:
    """The graph that ``torch.export`` finds, for this shape of the input."""
    return torch.export.export(network, (images,)).module()


def _quantize(network: nn.Module) -> None:
    """Dynamic int8, in place. torchao has it for linear layers, and for no convolution."""
    if not any(isinstance(module, nn.Linear) for module in network.modules()):
        raise RuntimeError(
            "torchao's dynamic int8 is for linear layers, and this network has none; quantize "
            'convolutions with onnxruntime and calibration images'
        )
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    except ImportError:
        raise RuntimeError("torchao is not installed: pip install 'adasap-det[export]'") from None
    quantize_(network, Int8DynamicActivationInt8WeightConfig())


def _onnx(graph: nn.Module, images: Tensor) -> Callable[[], object]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'network.onnx'
        height, width = images.shape[-2:]
        export_onnx(graph, path, input_size=(height, width), batch_size=len(images))
        session = onnx_session(path)
    return lambda: onnx_outputs(session, images)


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
