"""MMCV's operators without its compiled extension (onedl-mmcv 2.3.6, mmcv-lite).

``mmdet`` imports ``mmcv.ops``, which needs ``mmcv._ext``, and many wheels of MMCV lack it. The
operators that common detectors call exist in torchvision or are a few lines of PyTorch, so where
the extension is missing a module of the same name replaces it. A compiled MMCV is not changed.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_EXT = 'mmcv._ext'
_REMEDY = (
    'Install an MMCV with compiled operators that matches your PyTorch '
    '(https://mmcv.readthedocs.io/en/latest/get_started/installation.html), '
    'or choose a model that does not use this operator.'
)


def install_mmcv_ops() -> bool:
    """Install the replacement of ``mmcv._ext`` where that cannot be imported.

    Returns:
        Whether the replacement is installed after the call. False where MMCV is missing or
        compiled.
    """
    loaded = sys.modules.get(_EXT)
    if loaded is not None:
        return isinstance(loaded, _Replacement)
    if find_spec('mmcv') is None:
        return False
    try:
        importlib.import_module(_EXT)
        return False
    except ImportError as error:
        # The file exists but was compiled for another version of PyTorch or CUDA.
        if not isinstance(error, ModuleNotFoundError):
            warnings.warn(
                f'the compiled operators of MMCV do not load ({error}); using torchvision instead',
                stacklevel=2,
            )
    replacement = _Replacement(_EXT, __doc__)
    # importlib.util.find_spec, which MMCV's own check calls, fails for modules without a spec.
    replacement.__spec__ = ModuleSpec(_EXT, loader=None, origin=__file__)
    sys.modules[_EXT] = replacement
    importlib.import_module('mmcv')._ext = replacement  # type: ignore[attr-defined]
    return True


def missing_op(name: str) -> Callable[..., Any]:
    """Return a function that raises NotImplementedError for the missing operator ``name``."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"the operator '{name}' of MMCV is not compiled in this installation and has no "
            f'replacement here. {_REMEDY}'
        )

    fail.__name__ = name
    return fail


class _Replacement(types.ModuleType):
    """Module that resolves every operator name: MMCV checks all of them at import time."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return _OPS.get(name) or missing_op(name)


def _op(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register an operator; it runs without autograd, as a compiled one does."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return function(*args, **kwargs)

    _OPS[function.__name__] = run
    return run


_OPS: dict[str, Callable[..., Any]] = {}


def _full(x: Tensor) -> Tensor:
    """Cast to at least float32: half precision is too coarse for coordinates."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


@_op
def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels.
        scores: ``(N,)``.
        iou_threshold: A box is suppressed if its IoU with a kept, better box is above this.
        offset: A box is ``x2 - x1 + offset`` wide.

    Returns:
        Indices of the kept boxes, best first, int64.
    """
    from torchvision.ops import nms as torchvision_nms

    # Both corners moved by the offset give the same widths, heights and intersections.
    boxes = _full(boxes) + boxes.new_tensor([0, 0, offset, offset], dtype=_full(boxes).dtype)
    return torchvision_nms(boxes, _full(scores), iou_threshold)


@_op
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft non-maximum suppression: lower the scores of overlapping boxes.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels.
        scores: ``(N,)``.
        dets: ``(N, 5)``, its first ``K`` rows are filled with the kept boxes and their new scores.
        iou_threshold: Least IoU at which methods 0 and 1 lower a score.
        sigma: Width of the Gaussian of method 2.
        min_score: Boxes with a lower score are dropped.
        method: 0 hard, 1 linear ``1 - IoU``, 2 Gaussian ``exp(-IoU^2 / sigma)``.
        offset: A box is ``x2 - x1 + offset`` wide.

    Returns:
        Indices of the kept boxes in the order of selection, ``(K,)``, int64.

    Source: Soft-NMS (arXiv 1704.04503).
    """
    scores = scores.clone()
    remaining = torch.arange(len(boxes), device=boxes.device)
    kept: list[Tensor] = []
    while len(remaining):
        best = remaining[scores[remaining].argmax()]
        dets[len(kept), :4] = boxes[best]
        dets[len(kept), 4] = scores[best]
        kept.append(best)
        remaining = remaining[remaining != best]
        iou = _iou(boxes[best], boxes[remaining], offset=offset)
        if method == 2:
            decay = torch.exp(-(iou**2) / sigma)
        else:
            floor = torch.zeros_like(iou) if method == 0 else 1 - iou
            decay = torch.where(iou >= iou_threshold, floor, torch.ones_like(iou))
        scores[remaining] *= decay
        remaining = remaining[scores[remaining] >= min_score]
    return torch.stack(kept) if kept else remaining


def _iou(box: Tensor, boxes: Tensor, *, offset: int) -> Tensor:
    """IoU of one box, shape ``(4,)``, with each of ``(N, 4)``."""
    size = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])) + offset
    inter = size.clamp(min=0).prod(dim=1)
    area = (box[2:] - box[:2] + offset).prod()
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1)
    return inter / (area + areas - inter)


@_op
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign with average pooling, written into ``output``.

    Args:
        input: ``(N, C, H, W)``.
        rois: ``(K, 5)`` as image index, x1, y1, x2, y2 in pixels of the image.
        output: ``(K, C, aligned_height, aligned_width)``.
        argmax_y, argmax_x: Used by max pooling only.
        aligned_height, aligned_width: Bins.
        spatial_scale: Size of ``input`` over size of the image.
        sampling_ratio: Samples per bin and axis; 0 for as many as the bin has pixels.
        pool_mode: 1 for average; 0, max, is not supported.
        aligned: Shift by half a pixel, as Detectron2 does.

    Raises:
        NotImplementedError: For max pooling.
    """
    _require_average(pool_mode)
    feats = _full(input)
    output.copy_(
        _torchvision_ops().roi_align(
            feats,
            rois.to(feats.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


@_op
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` in its input, written into ``grad_input``."""
    _require_average(pool_mode)
    grad = _full(grad_output)
    grad_input.copy_(
        _torchvision_ops()._roi_align_backward(
            grad,
            rois.to(grad.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _torchvision_ops() -> Any:
    import torchvision  # noqa: F401  registers torch.ops.torchvision

    return torch.ops.torchvision


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs MMCV's compiled operators, and torchvision has "
            f"only 'avg'. Set pool_mode='avg' in the RoI layer. {_REMEDY}"
        )


@_op
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Focal loss of each logit, written into ``output``.

    Args:
        input: Logits, ``(N, C)``.
        target: Class of each row, ``(N,)``, int64; ``C`` stands for background.
        weight: Weight of each class, ``(C,)``, or empty for none. Applied to the entire row, as in
            MMCV; background rows, for which MMCV 2.1.0 reads past the end, have weight 1.
        output: ``(N, C)``.
        gamma, alpha: Focusing parameter and weight of the positive class.

    Source: Focal loss (arXiv 1708.02002), equation 5.
    """
    x = _full(input)
    p = x.sigmoid()
    positive = -alpha * (1 - p) ** gamma * F.logsigmoid(x)
    negative = -(1 - alpha) * p**gamma * F.logsigmoid(-x)
    output.copy_(torch.where(_is_target(x, target), positive, negative) * _row(weight, target))


@_op
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Derivative of :func:`sigmoid_focal_loss_forward` in its input, into ``grad_input``."""
    x = _full(input)
    p = x.sigmoid()
    positive = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * F.logsigmoid(x))
    negative = -(1 - alpha) * p**gamma * (gamma * (1 - p) * F.logsigmoid(-x) - p)
    grad_input.copy_(torch.where(_is_target(x, target), positive, negative) * _row(weight, target))


def _is_target(x: Tensor, target: Tensor) -> Tensor:
    """Mask of shape ``(N, C)``, true where the column is the row's class."""
    return target[:, None] == torch.arange(x.shape[1], device=x.device)


def _row(weight: Tensor, target: Tensor) -> Tensor:
    """Weight of each row, ``(N, 1)``."""
    if not weight.numel():
        return weight.new_ones(1, 1)
    with_background = torch.cat([weight, weight.new_ones(1)])
    return with_background[target][:, None]


def _no_compiler() -> str:
    return 'none (adasap_det runs MMCV operators through torchvision)'


_OPS['get_compiler_version'] = _OPS['get_compiling_cuda_version'] = _no_compiler
