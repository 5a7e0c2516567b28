"""Layers as a latency table knows them: everything of their shape but the channels."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adasap_det.pruning.budgets.cost import COUNTED, num_proposals
from adasap_det.pruning.graph.tracing import like_parameters, run_every_layer
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.modules import eval_mode


@dataclass(frozen=True)
class LayerKind:
    """A convolution or linear layer without its channels.

    Attributes:
        operator: ``conv2d``, ``conv_transpose2d``, ``linear``, ...
        kernel, stride, padding, dilation, output_padding: Of a convolution, else empty.
        groups: Number of groups, ``'depthwise'`` where there is one a channel.
        bias: Whether it has one.
        shape: Input without the channels: batch, then height and width, or rows.
        dtype: Of input and weights.
    """

    operator: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: str
    bias: bool
    shape: tuple[int, ...]
    dtype: str

    @property
    def key(self) -> str:
        """The same as text."""
        return ' '.join(
            'x'.join(map(str, value)) if isinstance(value, tuple) else str(value)
            for value in astuple(self)
        )

    def build(self, channels: tuple[int, int], *, device: torch.device) -> tuple[nn.Module, Tensor]:
        """A layer of this kind with so many input and output channels, and an input for it."""
        inputs, outputs = channels
        options: dict[str, Any] = {
            'bias': self.bias,
            'device': device,
            'dtype': getattr(torch, self.dtype),
        }
        if self.operator == 'linear':
            layer: nn.Module = nn.Linear(inputs, outputs, **options)
            shape = (*self.shape, inputs)
        else:
            groups = inputs if self.groups == 'depthwise' else int(self.groups)
            options |= {
                'stride': self.stride,
                'padding': self.padding,
                'dilation': self.dilation,
                'groups': groups,
            }
            if 'transpose' in self.operator:
                options['output_padding'] = self.output_padding
            layer = _CONVOLUTIONS[self.operator](inputs, outputs, self.kernel, **options)
            shape = (self.shape[0], inputs, *self.shape[1:])
        image = torch.randn(shape, device=device).to(options['dtype'])
        return layer.eval(), image


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer in the forward pass."""

    name: str
    kind: LayerKind
    outputs: float
    """Positions of the output, each of which has all output channels."""


def layer_calls(
    model: nn.Module, example_inputs: Tensor, *, batch_size: int, dtype: torch.dtype
) -> list[LayerCall]:
    """Every call of a convolution or linear layer for ``batch_size`` images."""
    copied = copy_unwrapped(model).cpu().float()
    calls: list[LayerCall] = []

    def record(name: str, module: Any, inputs: Tensor, output: Tensor) -> None:
        kind, outputs = describe_call(module, inputs, output, batch_size=batch_size, dtype=dtype)
        calls.append(LayerCall(name, kind, outputs))

    for name, module in copied.named_modules():
        if isinstance(module, COUNTED):
            module.register_forward_hook(
                lambda m, i, o, name=name: record(name, m, i[0], o)  # type: ignore[misc]
            )
    with eval_mode(copied), torch.no_grad():
        inputs = like_parameters(example_inputs, copied)
        run_every_layer(copied, inputs, num_rois=num_proposals(model))
    return calls


def describe_call(
    module: Any, inputs: Tensor, output: Tensor, *, batch_size: int, dtype: torch.dtype
) -> tuple[LayerKind, float]:
    """Kind of a layer called with one image's ``inputs``, and positions of its output."""
    name = str(dtype).removeprefix('torch.')
    if isinstance(module, nn.Linear):
        rows = inputs.numel() // module.in_features * batch_size
        shape: tuple[int, ...] = (rows,)
        kind = LayerKind('linear', (), (), (), (), (), '1', module.bias is not None, shape, name)
        return kind, float(rows)
    transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
    depthwise = module.groups == module.in_channels == module.out_channels > 1
    padding = module.padding
    if isinstance(padding, str):  # 'same' or 'valid': left and right of each side, last side first
        padding = tuple(reversed(module._reversed_padding_repeated_twice[::2]))
    operator = f'conv{"_transpose" if transposed else ""}{len(module.kernel_size)}d'
    kind = LayerKind(
        operator=operator,
        kernel=tuple(module.kernel_size),
        stride=tuple(module.stride),
        padding=tuple(padding),
        dilation=tuple(module.dilation),
        output_padding=tuple(module.output_padding) if transposed else (),
        groups='depthwise' if depthwise else str(module.groups),
        bias=module.bias is not None,
        shape=(inputs.shape[0] * batch_size, *inputs.shape[2:]),
        dtype=name,
    )
    return kind, output.numel() / module.out_channels * batch_size


_CONVOLUTIONS = {
    'conv1d': nn.Conv1d,
    'conv2d': nn.Conv2d,
    'conv3d': nn.Conv3d,
    'conv_transpose1d': nn.ConvTranspose1d,
    'conv_transpose2d': nn.ConvTranspose2d,
    'conv_transpose3d': nn.ConvTranspose3d,
}
