"""Forward passes of attention modules whose heads no longer fill the embedding.

The originals compute the width of a head from that of their input. A module that has lost heads
gets, in place, a subclass of its class with one of these forward passes: parameters, hooks and the
names in its state dict stay.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HeadPruned(nn.Module):
    """Base of the forward passes. Modules have ``num_heads`` heads of ``head_dim`` channels."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The subclass is made at run time, so that pickle cannot import it by name.
        return _rebuild, (forward_class(self), original_class(self)), self.__dict__


def swap_class(module: nn.Module, forward: type[HeadPruned]) -> None:
    """Give a module another forward pass, in place; once is enough."""
    if not isinstance(module, HeadPruned):
        module.__class__ = _subclass(forward, type(module))


def original_class(module: nn.Module) -> type[nn.Module]:
    """The class that a module had when it was built."""
    return type(module).__bases__[1] if isinstance(module, HeadPruned) else type(module)


def forward_class(module: HeadPruned) -> type[HeadPruned]:
    """The class of this file that a pruned module got."""
    return cast('type[HeadPruned]', type(module).__bases__[0])


def _subclass(forward: type[HeadPruned], original: type[nn.Module]) -> type[nn.Module]:
    key = forward, original
    if key not in _SUBCLASSES:  # of the same name, so that a printed model looks as before
        _SUBCLASSES[key] = type(original.__name__, key, {})
    return _SUBCLASSES[key]


_SUBCLASSES: dict[tuple[type[HeadPruned], type[nn.Module]], type[nn.Module]] = {}


def _rebuild(forward: type[HeadPruned], original: type[nn.Module]) -> nn.Module:
    kind = _subclass(forward, original)
    return kind.__new__(kind)


class PrunedWindowMSA(HeadPruned):
    """mmdet's and mmpretrain's attention within windows, of Swin."""

    def forward(self: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention within each window.

        Args:
            x: Shape ``(windows x N, tokens, channels)``.
            mask: Added to the scores, shape ``(windows, tokens, tokens)``.
        """
        count, tokens = x.shape[:2]
        qkv = self.qkv(x).reshape(count, tokens, 3, self.num_heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (query * self.scale) @ key.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        scores = scores + bias.view(1, tokens, tokens, -1).permute(0, 3, 1, 2)
        if mask is not None:
            windows = mask.shape[0]
            scores = scores.view(count // windows, windows, self.num_heads, tokens, tokens)
            scores = (scores + mask[:, None]).view(-1, self.num_heads, tokens, tokens)
        weights = self.attn_drop(self.softmax(scores))
        out = (weights @ value).transpose(1, 2).reshape(count, tokens, -1)
        return self.proj_drop(self.proj(out))


class PrunedMultiheadAttention(HeadPruned):
    """PyTorch's ``nn.MultiheadAttention``, without its fused kernels for evaluation."""

    def forward(
        self: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See ``nn.MultiheadAttention``; arguments, masks, shapes and results are the same.

        Raises:
            ValueError: If ``attn_mask`` has a mask for each head of the dense module, or
                ``is_causal`` is given without a mask.
        """
        if is_causal and attn_mask is None:
            raise ValueError('is_causal=True needs attn_mask, as in nn.MultiheadAttention')
        batched = query.dim() == 3
        if not batched:
            query, key, value = (each.unsqueeze(0) for each in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (each.transpose(0, 1) for each in (query, key, value))
        q, k, v = self._heads(query, key, value)
        mask = self._merged_mask(attn_mask, key_padding_mask, q, k.shape[2])
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = F.dropout(weights, dropout, self.training)
            out = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        out = out.transpose(1, 2).flatten(2)
        out = F.linear(out, self.out_proj.weight, self.out_proj.bias)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _heads(self: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value, shape ``(N, heads, tokens, head_dim)`` each."""
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(
            F.linear(x, weight, bias).unflatten(2, (-1, self.head_dim)).transpose(1, 2)
            for x, weight, bias in zip(inputs, weights, biases, strict=True)
        )

    def _merged_mask(
        self: Any,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        query: Tensor,
        keys: int,
    ) -> Tensor | None:
        """Both masks as one that is added to the scores and broadcasts to their shape."""
        batch, heads, queries = query.shape[:3]
        merged = None
        if attn_mask is not None:
            merged = _additive(attn_mask, query.dtype)
            if merged.dim() == 3 and merged.shape[0] != batch * heads:
                raise ValueError(
                    f'attn_mask has {merged.shape[0]} masks, for {batch} x the heads of the dense '
                    f'model, but {heads} heads are left; exclude this attention from pruning'
                )
            if merged.dim() == 3:
                merged = merged.view(batch, heads, queries, keys)
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, query.dtype)[:, None, None]
            merged = padding if merged is None else merged + padding
        return merged


class PrunedShiftedWindowAttention(HeadPruned):
    """torchvision's attention within shifted windows, of Swin."""

    def forward(self: Any, x: Tensor) -> Tensor:
        """Attention within windows of ``(N, H, W, C)``; the result has the same shape."""
        height, width = x.shape[1:3]
        rows, columns = self.window_size
        x = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        padded = x.shape[1:3]
        # A window as large as the padded image is not shifted.
        shift = [
            0 if window >= side else by
            for window, side, by in zip(self.window_size, padded, self.shift_size, strict=True)
        ]
        mask = None
        if any(shift):
            x = x.roll([-by for by in shift], dims=(1, 2))
            mask = self._shift_mask(x, shift)
        out = self._attend(_windows(x, rows, columns), mask)
        out = out.view(-1, padded[0] // rows, padded[1] // columns, rows, columns, out.shape[-1])
        out = out.transpose(2, 3).reshape(-1, *padded, out.shape[-1])
        if any(shift):
            out = out.roll(shift, dims=(1, 2))
        return out[:, :height, :width].contiguous()

    def _attend(self: Any, windows: Tensor, mask: Tensor | None) -> Tensor:
        qkv = self.qkv(windows).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        scores = (query * self.head_dim**-0.5) @ key.transpose(-2, -1)
        scores = scores + self.get_relative_position_bias()
        if mask is not None:
            scores = scores + mask[:, None]
        weights = F.dropout(scores.softmax(-1), self.attention_dropout, self.training)
        out = self.proj((weights @ value).transpose(2, 3).flatten(3))
        return F.dropout(out, self.dropout, self.training)

    def _shift_mask(self: Any, x: Tensor, shift: list[int]) -> Tensor:
        """-100 between tokens of a window that are no neighbours, ``(windows, tokens, tokens)``."""
        region = x.new_zeros(1, *x.shape[1:3], 1)
        index = 0
        for top, bottom in _bounds(self.window_size[0], shift[0]):
            for left, right in _bounds(self.window_size[1], shift[1]):
                region[:, top:bottom, left:right] = index
                index += 1
        tokens = _windows(region, *self.window_size)[0, ..., 0]
        return -100.0 * (tokens[:, None] != tokens[..., None]).to(x.dtype)


def _windows(x: Tensor, rows: int, columns: int) -> Tensor:
    """``(N, H, W, C)`` as ``(N, windows, tokens, C)``."""
    count, height, width, channels = x.shape
    x = x.view(count, height // rows, rows, width // columns, columns, channels)
    return x.transpose(2, 3).reshape(count, -1, rows * columns, channels)


def _bounds(window: int, shift: int) -> list[tuple[int | None, int | None]]:
    return [(0, -window), (-window, -shift), (-shift, None)]


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float('-inf'))
