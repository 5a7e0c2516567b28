"""Where attention modules keep their heads, and their attributes after heads were removed.

Classes of other packages are known by name, so that none of them is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from .pruned_attention import (
    PrunedMultiheadAttention,
    PrunedShiftedWindowAttention,
    PrunedWindowMSA,
    original_class,
    swap_class,
)


@dataclass(frozen=True)
class HeadTensor:
    """A parameter of an attention module that has positions of every head along one dimension.

    Attributes:
        name: Dotted name in the module.
        dim: The dimension. Along it lie ``blocks`` equal blocks, each with all heads in order, and
            each head with the same number of positions.
        blocks: 3 where query, key and value are stacked.
    """

    name: str
    dim: int
    blocks: int = 1

    def heads(self, size: int, num_heads: int) -> Tensor:
        """Head of each of ``size`` positions, shape ``(size,)``."""
        return torch.arange(size) // self.width(size, num_heads) % num_heads

    def width(self, size: int, num_heads: int) -> int:
        """Positions of one head in one block."""
        return size // (self.blocks * num_heads)


@dataclass(frozen=True)
class AttentionLayout:
    """Where the modules of one class keep their heads.

    Attributes:
        own: Parameters that compute the heads, that of the projection first. A module may lack
            some of them, biases for instance.
        consumers: Parameters that read them.
        layers: Names of the projections in the module; ``''`` where it holds the weights itself.
        set_heads: Called with a module, its number of heads and their width when its parameters
            have shrunk; None where a module keeps the width of its heads only.
        unsupported: Reason why the heads of a module cannot be removed, or None.
        num_heads: The number of heads of a module.
    """

    own: tuple[HeadTensor, ...]
    consumers: tuple[HeadTensor, ...]
    layers: tuple[str, ...]
    set_heads: Callable[[Any, int, int], None] | None
    unsupported: Callable[[Any], str | None] = lambda module: None
    num_heads: Callable[[Any], int] = attrgetter('num_heads')

    def present(self, module: nn.Module, which: tuple[HeadTensor, ...]) -> dict[HeadTensor, Tensor]:
        """Those of ``own`` or ``consumers`` that the module has."""
        found = dict(module.named_parameters())
        return {each: found[each.name] for each in which if each.name in found}


def attention_layout(module: nn.Module) -> AttentionLayout | None:
    """Layout of a module of a known class, dense or pruned; None for all others.

    Subclasses are not known: their forward pass may be another.
    """
    kind = original_class(module)
    return _LAYOUTS.get(f'{kind.__module__}.{kind.__qualname__}')


def sync_attention(model: nn.Module, before: Mapping[str, torch.Size]) -> None:
    """Make the number of heads of attention modules agree with the shapes of their parameters.

    Args:
        model: A model some of whose tensors have just shrunk.
        before: Shapes before, by dotted name.
    """
    for prefix, module in model.named_modules():
        layout = attention_layout(module)
        if layout is None or layout.set_heads is None:
            continue
        tensors = layout.present(module, layout.own)
        old = {each: before.get(dotted(prefix, each.name), t.shape) for each, t in tensors.items()}
        if all(old[each] == t.shape for each, t in tensors.items()):
            continue
        first = next(iter(tensors))
        width = first.width(old[first][first.dim], layout.num_heads(module))
        heads = tensors[first].shape[first.dim] // (first.blocks * width)
        layout.set_heads(module, heads, width)
    for module in model.modules():
        attention = getattr(module, 'attn', None)  # mmcv's wrapper repeats its number of heads
        if isinstance(attention, nn.MultiheadAttention) and hasattr(module, 'num_heads'):
            module.num_heads = attention.num_heads
        if isinstance(module, nn.TransformerEncoder):
            _avoid_nested_tensors(module)


def dotted(prefix: str, name: str) -> str:
    """Name of a module's parameter or layer in the model."""
    return '.'.join(part for part in (prefix, name) if part)


def _avoid_nested_tensors(encoder: Any) -> None:
    # Only PyTorch's fused kernel takes them, which assumes that heads fill the embedding.
    if any(isinstance(m, PrunedMultiheadAttention) for m in encoder.modules()):
        encoder.use_nested_tensor = False


def _set_window_heads(module: Any, heads: int, width: int) -> None:
    module.num_heads, module.head_dim = heads, width
    swap_class(module, PrunedWindowMSA)


def _set_torchvision_window_heads(module: Any, heads: int, width: int) -> None:
    module.num_heads, module.head_dim = heads, width
    swap_class(module, PrunedShiftedWindowAttention)


def _set_torch_heads(module: Any, heads: int, width: int) -> None:
    module.num_heads, module.head_dim = heads, width
    # False keeps the layers around it from handing its weights to a fused kernel.
    module._qkv_same_embed_dim = False
    swap_class(module, PrunedMultiheadAttention)


def _set_mmpretrain_heads(module: Any, heads: int, width: int) -> None:
    module.num_heads, module.embed_dims = heads, heads * width


def _set_timm_heads(module: Any, heads: int, width: int) -> None:
    module.num_heads, module.attn_dim = heads, heads * width


def _set_num_heads(module: Any, heads: int, width: int) -> None:
    module.num_heads = heads


def _set_transformers_heads(module: Any, heads: int, width: int) -> None:
    module.n_heads, module.d_model = heads, heads * width


def _heads_of_queries(module: Any) -> int:
    return module.q_proj.weight.shape[0] // module.head_dim


def _torch_unsupported(module: Any) -> str | None:
    if module.bias_k is not None or module.add_zero_attn:
        return 'attention with add_bias_kv or add_zero_attn'
    return None


def _mmpretrain_unsupported(module: Any) -> str | None:
    return 'attention with v_shortcut' if module.v_shortcut else None


def _timm_unsupported(module: Any) -> str | None:
    if not hasattr(module, 'attn_dim'):
        return 'attention of a timm older than 1.0.20, whose width is fixed'
    if not isinstance(module.norm, nn.Identity):
        return 'attention with a norm over all its heads'
    return None


_QKV = (HeadTensor('qkv.weight', 0, 3), HeadTensor('qkv.bias', 0, 3))
_PROJ = (HeadTensor('proj.weight', 1),)
_POSITION_BIAS = HeadTensor('relative_position_bias_table', 1)
_DEFORMABLE = (
    HeadTensor('value_proj.weight', 0),
    HeadTensor('value_proj.bias', 0),
    HeadTensor('sampling_offsets.weight', 0),
    HeadTensor('sampling_offsets.bias', 0),
    HeadTensor('attention_weights.weight', 0),
    HeadTensor('attention_weights.bias', 0),
)
_DEFORMABLE_LAYERS = ('value_proj', 'sampling_offsets', 'attention_weights')
_WINDOW = AttentionLayout((*_QKV, _POSITION_BIAS), _PROJ, ('qkv',), _set_window_heads)
_TRANSFORMERS = AttentionLayout(
    own=tuple(HeadTensor(f'{p}_proj.{t}', 0) for p in 'qkv' for t in ('weight', 'bias')),
    consumers=(HeadTensor('o_proj.weight', 1),),
    layers=('q_proj', 'k_proj', 'v_proj'),
    set_heads=None,
    num_heads=_heads_of_queries,
)

_LAYOUTS = {
    'mmdet.models.backbones.swin.WindowMSA': _WINDOW,
    'mmpretrain.models.utils.attention.WindowMSA': _WINDOW,
    'mmpretrain.models.utils.attention.MultiheadAttention': AttentionLayout(
        _QKV, _PROJ, ('qkv',), _set_mmpretrain_heads, _mmpretrain_unsupported
    ),
    'torch.nn.modules.activation.MultiheadAttention': AttentionLayout(
        own=(
            HeadTensor('in_proj_weight', 0, 3),
            HeadTensor('q_proj_weight', 0),
            HeadTensor('k_proj_weight', 0),
            HeadTensor('v_proj_weight', 0),
            HeadTensor('in_proj_bias', 0, 3),
        ),
        consumers=(HeadTensor('out_proj.weight', 1),),
        layers=('',),
        set_heads=_set_torch_heads,
        unsupported=_torch_unsupported,
    ),
    'mmcv.ops.multi_scale_deform_attn.MultiScaleDeformableAttention': AttentionLayout(
        own=_DEFORMABLE,
        consumers=(HeadTensor('output_proj.weight', 1),),
        layers=_DEFORMABLE_LAYERS,
        set_heads=_set_num_heads,
    ),
    'timm.layers.attention.Attention': AttentionLayout(
        own=(*_QKV, HeadTensor('gate.weight', 0), HeadTensor('gate.bias', 0)),
        consumers=_PROJ,
        layers=('qkv',),
        set_heads=_set_timm_heads,
        unsupported=_timm_unsupported,
    ),
    'timm.models.swin_transformer.WindowAttention': AttentionLayout(
        (*_QKV, _POSITION_BIAS), _PROJ, ('qkv',), _set_num_heads
    ),
    'torchvision.models.swin_transformer.ShiftedWindowAttention': AttentionLayout(
        (*_QKV, _POSITION_BIAS), _PROJ, ('qkv',), _set_torchvision_window_heads
    ),
    'transformers.models.rt_detr.modeling_rt_detr.RTDetrSelfAttention': _TRANSFORMERS,
    'transformers.models.d_fine.modeling_d_fine.DFineSelfAttention': _TRANSFORMERS,
    'transformers.models.rt_detr.modeling_rt_detr.RTDetrMultiscaleDeformableAttention': (
        AttentionLayout(
            own=_DEFORMABLE,
            consumers=(HeadTensor('output_proj.weight', 1),),
            layers=_DEFORMABLE_LAYERS,
            set_heads=_set_transformers_heads,
            num_heads=attrgetter('n_heads'),
        )
    ),
}
