"""Export to ONNX, and the comparison of the file with the model."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adasap_det.utils.io import atomic_write

OPSET = 17


def export_onnx(
    graph: nn.Module,
    path: Path,
    *,
    input_size: tuple[int, int],
    opset: int = OPSET,
    batch_size: int = 1,
    dynamic_batch: bool = False,
    names: Sequence[str] | None = None,
) -> list[str]:
    """Write a graph as an ONNX file, atomically.

    Args:
        graph: See :func:`~adasap_det.export.make_graph`.
        path: File.
        input_size: Height and width in pixels.
        opset: Operator set, 17 or later.
        batch_size: Images that it takes.
        dynamic_batch: Whether their number is left open. A network that computes with it outside
            of tensors (Swin's ``window_reverse``) keeps ``batch_size`` in its graph, and is wrong
            for others without an error: compare the file on a batch of several.
        names: Of the outputs; ``output0``, ``output1``, ... by default.

    Returns:
        Names of the outputs.

    Raises:
        ValueError: If ``opset`` is too small.
    """
    if opset < OPSET:
        raise ValueError(f'opset must be at least {OPSET}, got {opset}')
    images = sample(input_size, batch_size)
    with torch.no_grad():
        count = len(graph(images))
    outputs = list(names) if names is not None else [f'output{i}' for i in range(count)]
    axes: dict[str, dict[int, str]] = {}
    if dynamic_batch:
        axes = {name: {0: 'batch'} for name in ('images', *outputs)}
    elif names is not None:
        axes = {name: {0: 'detections'} for name in names}
    with atomic_write(path) as temporary, warnings.catch_warnings():
        # Shapes are meant to be constants, and the exporter of traces is meant.
        warnings.simplefilter('ignore')
        options: dict[str, Any] = {'dynamo': False} if _has_dynamo() else {}
        torch.onnx.export(
            graph,
            (images,),
            str(temporary),
            input_names=['images'],
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=opset,
            **options,
        )
    return outputs


def onnx_session(path: Path, *, threads: int | None = None) -> Any:
    """An onnxruntime session on the CPU.

    Args:
        path: ONNX file.
        threads: Of one operator; as PyTorch has by default.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def onnx_outputs(session: Any, images: Tensor) -> list[Tensor]:
    """Outputs of a session for a batch of pixels."""
    found = session.run(None, {'images': np.ascontiguousarray(images.numpy())})
    return [torch.from_numpy(np.asarray(array)) for array in found]


def largest_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Largest difference of two lists of tensors; infinite where shapes differ or one has NaN.

    Of tensors with values above 1, boxes in pixels say, it is relative to the largest value.
    """
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if one.shape != other.shape:
            return float('inf')
        if one.numel():
            scale = max(1.0, float(one.abs().max()))
            difference = float((one.double() - other.double()).abs().max()) / scale
            if math.isnan(difference):
                return float('inf')
            worst = max(worst, difference)
    return worst


def sample(input_size: tuple[int, int], batch_size: int = 1) -> Tensor:
    """Pixels of noise, shape ``(batch_size, 3, H, W)``, 0 to 255."""
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(batch_size, 3, *input_size, generator=generator)


def _has_dynamo() -> bool:
    return 'dynamo' in inspect.signature(torch.onnx.export).parameters
