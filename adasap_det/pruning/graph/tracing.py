"""One forward pass through every layer of a model, for tracing and counting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from adasap_det.utils.name_patterns import matches

TRACED_ROIS = 8


def example_image(input_size: tuple[int, int]) -> Tensor:
    """An image of noise, shape ``(1, 3, H, W)``, values in [0, 1).

    Noise instead of zeros: a layer that divides by its input's norm must stay finite.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, *input_size, generator=generator)


def like_parameters(inputs: Tensor, model: nn.Module) -> Tensor:
    """``inputs`` with the device and dtype of the model's parameters."""
    return inputs.to(next(model.parameters()))


def trace_forward(model: Any, inputs: Tensor, *, num_rois: int | None = TRACED_ROIS) -> Any:
    """Raw outputs of the model, before any decoding or NMS.

    One-stage detectors and classifiers have a ``mode='tensor'`` for this. Two-stage detectors
    would go through NMS there and may be left without proposals, so that the second stage never
    runs; they get ``num_rois`` fixed boxes of all sizes instead. Of detection transformers (DETR
    and similar) only the backbone and the neck run.

    Args:
        model: A detector, a classifier, or any module called with one tensor.
        inputs: Shape ``(N, 3, H, W)``.
        num_rois: Boxes per image handed to the second stage; with None it gets the sum of all
            maps, pooled. Channels are related as in the real pass, without the operators of RoI
            extractors, which are outside of PyTorch and cannot be traced.
    """
    roi_head = getattr(model, 'roi_head', None)
    if roi_head is not None and hasattr(model, 'rpn_head'):
        features = model.extract_feat(inputs)
        outputs = [model.rpn_head(features)]
        stages = getattr(roi_head, 'num_stages', None)
        if num_rois is None:
            single = stages is None
            extractors = [roi_head.bbox_roi_extractor] if single else roi_head.bbox_roi_extractor
            heads = [roi_head.bbox_head] if single else roi_head.bbox_head
            for extractor, head in zip(extractors, heads, strict=True):
                size = extractor.roi_layers[0].output_size
                levels = features[: extractor.num_inputs]
                pooled = sum(nn.functional.adaptive_avg_pool2d(level, size) for level in levels)
                if roi_head.with_shared_head:
                    pooled = roi_head.shared_head(pooled)
                outputs.append(head(pooled))
            if getattr(roi_head, 'with_mask', False):
                outputs.extend(_pooled_masks(roi_head, features))
            return outputs
        rois = spread_rois(inputs, num_rois)
        if stages is None:
            outputs.append(_tensors(roi_head._bbox_forward(features, rois)))
            if getattr(roi_head, 'with_mask', False):
                outputs.append(_tensors(roi_head._mask_forward(features, rois)))
        else:
            for stage in range(stages):
                outputs.append(_tensors(roi_head._bbox_forward(stage, features, rois)))
                if getattr(roi_head, 'with_mask', False):
                    outputs.append(_tensors(roi_head._mask_forward(stage, features, rois)))
        return outputs
    if hasattr(model, 'pre_transformer'):
        # Detection transformers need annotations for masks; their queries and heads are not pruned.
        return model.extract_feat(inputs)
    if isinstance(model, BaseModel):
        return model(inputs, mode='tensor')
    if all(hasattr(model, name) for name in ('backbone', 'anchor_generator', 'head', 'transform')):
        # torchvision's one-stage detectors, which otherwise return what is left after NMS.
        return model.head(list(model.backbone(inputs).values()))
    return model(inputs)


def run_every_layer(model: Any, inputs: Tensor, *, num_rois: int | None) -> Any:
    """Like :func:`trace_forward`, but detection transformers run as a whole.

    Those that read text (Grounding DINO) run as there.
    """
    if hasattr(model, 'pre_transformer') and not hasattr(model, 'language_model'):
        from mmdet.structures import DetDataSample

        size = tuple(inputs.shape[-2:])
        sample = DetDataSample(metainfo={'batch_input_shape': size, 'img_shape': size})
        return model(inputs, [sample] * len(inputs), mode='tensor')
    return trace_forward(model, inputs, num_rois=num_rois)


def fixed_outputs(
    forward: Callable[[nn.Module, Tensor], Any],
    prunable: Sequence[str],
    model: nn.Module,
    inputs: Tensor,
) -> list[Tensor]:
    """Outputs of the model whose channels have a meaning.

    Args:
        forward: Runs the model.
        prunable: Name patterns of modules whose own outputs are left out, as they are only handed
            on to the caller.
        model: The model.
        inputs: Its inputs.
    """
    left_out: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: left_out.extend(tree_leaves(output)))
        for name, module in model.named_modules()
        if matches(name, prunable)
    ]
    try:
        results = forward(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        leaf
        for leaf in tree_leaves(results)
        if isinstance(leaf, Tensor) and not any(leaf is each for each in left_out)
    ]


def _pooled_masks(roi_head: Any, features: Any) -> list[Tensor]:
    extractors, heads = roi_head.mask_roi_extractor, roi_head.mask_head
    if not isinstance(heads, nn.ModuleList):
        extractors, heads = [extractors], [heads]
    outputs = []
    for extractor, head in zip(extractors, heads, strict=True):
        size = extractor.roi_layers[0].output_size
        levels = features[: extractor.num_inputs]
        outputs.append(head(sum(nn.functional.adaptive_avg_pool2d(x, size) for x in levels)))
    return outputs


def spread_rois(inputs: Tensor, num_rois: int) -> Tensor:
    """Boxes of sizes from an eighth of the image to all of it, shape ``(num_rois, 5)``.

    Columns: index of the image, x1, y1, x2, y2 in pixels.
    """
    height, width = inputs.shape[-2:]
    size = torch.logspace(-3, 0, num_rois, base=2.0, device=inputs.device)
    zero = torch.zeros_like(size)
    return torch.stack([zero, zero, zero, size * width, size * height], dim=1)


def _tensors(results: dict[str, Any]) -> list[Tensor]:
    # The pooled features are inputs of the heads, not outputs of the model.
    return [
        v
        for k, v in results.items()
        if isinstance(v, Tensor) and k not in ('bbox_feats', 'mask_feats')
    ]
