"""Parameters and multiply-accumulates (MACs) of a model, as functions of the channels kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adasap_det.checkpoint.removed_blocks import is_inside
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.tracing import example_image, like_parameters, run_every_layer
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.modules import eval_mode

from .tensor_sizes import TensorSizes, size_with

COUNTED = (nn.modules.conv._ConvNd, nn.Linear)


class CostModel:
    """Cost as an exact function of how many channels each group keeps.

    Args:
        model: The model that ``groups`` were found in.
        groups: Its channel groups.
        multipliers: Cost of one element of each tensor by name; 1 a parameter for the number of
            parameters, output positions for MACs.
        blocks: Names of blocks that may be removed as a whole. They are kept like groups of one
            channel, with which all their layers go.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        multipliers: Mapping[str, float],
        blocks: Sequence[str] = (),
    ) -> None:
        sizes = TensorSizes(model, groups)
        self.full = sizes.full | dict.fromkeys(blocks, 1)
        self._terms = {
            name: (m, sizes.dims(name), block_of(name, blocks)) for name, m in multipliers.items()
        }
        self._of: dict[str, list[str]] = {name: [] for name in self.full}
        for name, (_, dims, block) in self._terms.items():
            names = {n for _, along in dims for n, _ in along}
            for each in names if block is None else names | {block}:
                self._of[each].append(name)

    def cost(self, kept: Mapping[str, int] | None = None) -> float:
        """Cost with ``kept`` channels by group or block; of the model as it is where ``None``."""
        return sum(self.by_layer(kept).values())

    def by_layer(self, kept: Mapping[str, int] | None = None) -> dict[str, float]:
        """The same by name of the layer."""
        kept = self.full if kept is None else kept
        layers: dict[str, float] = {}
        for name in self._terms:
            layer = name.rpartition('.')[0]
            layers[layer] = layers.get(layer, 0.0) + self._term(name, kept)
        return layers

    def of_group(self, name: str, kept: Mapping[str, int]) -> float:
        """The part of the cost that depends on the channels of one group, or on one block."""
        return sum(self._term(each, kept) for each in self._of[name])

    def _term(self, name: str, kept: Mapping[str, int]) -> float:
        multiplier, dims, block = self._terms[name]
        if block is not None and not kept.get(block, 1):
            return 0.0
        return multiplier * math.prod(size_with(dim, kept) for dim in dims)


def block_of(name: str, blocks: Sequence[str]) -> str | None:
    """The one of these blocks that a layer or a tensor is inside of, by name."""
    return next((block for block in blocks if is_inside(name, [block])), None)


def params_cost(
    model: nn.Module, groups: Sequence[ChannelGroup], blocks: Sequence[str] = ()
) -> CostModel:
    """Cost model that counts parameters."""
    return CostModel(model, groups, {name: 1.0 for name, _ in model.named_parameters()}, blocks)


def macs_cost(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    example_inputs: Tensor,
    blocks: Sequence[str] = (),
) -> CostModel:
    """Cost model that counts the MACs of one image, of convolutions and linear layers."""
    return CostModel(model, groups, weight_uses(model, example_inputs), blocks)


def count_params(model: nn.Module) -> int:
    """Number of parameters, trainable or not."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, *, input_size: tuple[int, int]) -> int:
    """Multiply-accumulates of one image in convolutions and linear layers.

    Without those between activations, as the scores of an attention are.

    Args:
        model: Detector, classifier or plain module.
        input_size: Height and width in pixels.
    """
    return round(macs_cost(model, [], example_image(input_size)).cost())


def weight_uses(model: nn.Module, example_inputs: Tensor) -> dict[str, float]:
    """How often each weight is used for one image, by name of the weight.

    Output positions for a convolution (input positions where transposed), rows for a linear
    layer and the projections of ``nn.MultiheadAttention``, summed over all calls of a shared
    layer. Where the model has a second stage, it runs on
    as many boxes as its test configuration lets through.
    """
    copied = copy_unwrapped(model)
    uses: dict[str, float] = {}

    def record(name: str, inputs: Tensor, output: Tensor, module: Any) -> None:
        if isinstance(module, nn.Linear):
            count = output.numel() / module.out_features
        elif isinstance(module, nn.modules.conv._ConvTransposeNd):
            count = inputs.numel() / module.in_channels
        else:
            count = output.numel() / module.out_channels
        uses[f'{name}.weight'] = uses.get(f'{name}.weight', 0.0) + count

    def record_attention(name: str, module: Any, *inputs: Tensor) -> None:
        # It multiplies with its weights itself, without calling a layer.
        rows = [each.numel() / each.shape[-1] for each in inputs]
        counts = dict(zip(('q_proj_weight', 'k_proj_weight', 'v_proj_weight'), rows, strict=True))
        if module.in_proj_weight is not None:  # a third of it each
            counts = {'in_proj_weight': sum(rows) / 3}
        counts['out_proj.weight'] = rows[0]
        for weight, count in counts.items():
            uses[f'{name}.{weight}'] = uses.get(f'{name}.{weight}', 0.0) + count

    for name, module in copied.named_modules():
        if isinstance(module, COUNTED):
            module.register_forward_hook(
                lambda m, i, o, name=name: record(name, i[0], o, m)  # type: ignore[misc]
            )
        elif isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(
                lambda m, args, kwargs, name=name: record_attention(  # type: ignore[misc]
                    name, m, *_query_key_value(*args, **kwargs)
                ),
                with_kwargs=True,
            )
    with eval_mode(copied), torch.no_grad():
        inputs = like_parameters(example_inputs, copied)
        run_every_layer(copied, inputs, num_rois=num_proposals(model))
    return uses


def _query_key_value(
    query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return query, key, value


def num_proposals(model: nn.Module) -> int:
    """Boxes that a two-stage detector's test configuration lets through to the second stage."""
    test_cfg = getattr(model, 'test_cfg', None) or {}
    rpn = test_cfg.get('rpn') if hasattr(test_cfg, 'get') else None
    return int(rpn.get('max_per_img', 1000)) if rpn else 1000
