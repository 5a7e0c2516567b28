"""The work of ``adasap-export``: a dense or pruned checkpoint as an ONNX file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from adasap_det.checkpoint.loading import load_model
from adasap_det.cli.common import load_config, require_checkpoint
from adasap_det.cli.usage import UsageError
from adasap_det.export import DecodedDetector, export_onnx, make_graph
from adasap_det.export.detection_check import detections_difference
from adasap_det.export.onnx import (
    OPSET,
    largest_difference,
    onnx_outputs,
    onnx_session,
    sample,
)
from adasap_det.utils.input_size import config_input_size
from adasap_det.utils.io import atomic_write

TOLERANCE = 1e-3
DETECTIONS = ('boxes', 'scores', 'labels')


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.nms and args.dynamic_batch:
        raise UsageError('--nms is for one image at a time; leave out --dynamic-batch')
    if args.opset < OPSET:
        raise UsageError(f'--opset must be at least {OPSET}, got {args.opset}')
    for package in ('onnx', 'onnxruntime'):
        if find_spec(package) is None:
            raise UsageError(f"{package} is not installed: pip install 'adasap-det[export]'")
    cfg = load_config(args)
    require_checkpoint(args.checkpoint)
    try:
        model, meta = load_model(cfg, args.checkpoint)
        size = config_input_size(cfg, args.input_size)
        graph = make_graph(model, nms=args.nms)
    except ValueError as error:
        raise UsageError(error) from None
    path = Path(args.output)
    names = export_onnx(
        graph,
        path,
        input_size=size,
        opset=args.opset,
        dynamic_batch=args.dynamic_batch,
        names=DETECTIONS if args.nms else None,
    )
    image = sample(size) if args.image is None else read_image(args.image, size)
    batches = [image]
    if args.dynamic_batch:
        # Different images: the same one three times would look right in any order of values.
        batches.append(torch.cat([image, sample(size, 3)[1:]]))
    describe(path, cfg, meta, size, names, dynamic_batch=args.dynamic_batch)
    for images in batches:
        on = f' on a batch of {len(images)}' if len(images) > 1 else ''
        remedy = '; export without --dynamic-batch' if on else ''
        difference, found = check(graph, path, images)
        print(f'{path}: largest difference from PyTorch {difference:.2g}{on}{found}')
        if not difference <= TOLERANCE:
            raise UsageError(
                f'{path} differs from PyTorch by {difference:.2g}{on}, more than {TOLERANCE:g}; '
                f'do not deploy it{remedy}'
            )


def check(graph: nn.Module, path: Path, images: Tensor) -> tuple[float, str]:
    """Compare onnxruntime with PyTorch on a batch.

    Returns:
        The largest difference, infinite if onnxruntime cannot run the file, which is reported; and
        of a graph with NMS how many detections there were to compare.
    """
    try:
        theirs = onnx_outputs(onnx_session(path), images)
    except Exception as error:  # onnxruntime's errors have no base of their own
        print(f'onnxruntime: {error}', file=sys.stderr)
        return float('inf'), ''
    if isinstance(graph, DecodedDetector):
        found = f', {len(theirs[1])} detections compared'
        if not len(theirs[1]):
            found += ': give --image an image with objects for a check of boxes'
        return detections_difference(graph, images, theirs), found
    with torch.no_grad():
        return largest_difference(graph(images), theirs), ''


def read_image(file: str, size: tuple[int, int]) -> Tensor:
    """Pixels of an image, resized to height and width, shape ``(1, 3, H, W)``, BGR.

    Raises:
        UsageError: If it cannot be read.
    """
    import cv2

    image = cv2.imread(file)
    if image is None:
        raise UsageError(f'--image {file!r} cannot be read as an image')
    image = cv2.resize(image, size[::-1])
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def describe(
    path: Path,
    cfg: Config,
    meta: dict[str, Any],
    size: tuple[int, int],
    names: Sequence[str],
    *,
    dynamic_batch: bool,
) -> None:
    """Write next to the file how to use it."""
    content = {
        'input': {
            'name': 'images',
            'shape': ['batch' if dynamic_batch else 1, 3, *size],
            'values': '0 to 255, float32, channels as cv2.imread gives them (BGR)',
        },
        'outputs': list(names),
        'classes': list((meta.get('dataset_meta') or {}).get('classes') or []),
    }
    with atomic_write(path.with_suffix('.json')) as temporary:
        temporary.write_text(json.dumps(content, indent=1), 'utf-8')
