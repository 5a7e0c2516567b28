"""SSD neck with configurable widths and kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

_INIT = dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu')
_RELU = dict(type='ReLU')


@MODELS.register_module()
class SSDExtraLayers(BaseModule):
    """Neck that appends successively smaller feature maps to the backbone's map.

    Each map is computed from the previous one by a convolution of stride 1 and a strided 3x3 or
    4x4 convolution. In mmdet's ``SSDNeck`` the first of the two is 1x1 and half as wide as the
    second; SSD512 with ResNet-50 begins with a 3x3 convolution as wide as the second, which is 19
    of its 65 GMACs.

    Args:
        in_channels (int): Channels of the backbone's map.
        mid_channels, out_channels (Sequence[int]): Channels after the first and after the second
            convolution of each new map.
        mid_kernels (Sequence[int]): Kernel size of the first convolution of each new map, odd;
            padding preserves the map's size.
        out_kernels (Sequence[int]): Kernel size of the second convolution, padded by 1.
        strides (Sequence[int]): Stride of the second convolution.
        norm_cfg, act_cfg (dict, optional): As in MMCV's ``ConvModule``.
        init_cfg (dict): Initialisation; by default Kaiming with ``fan_out``.

    Raises:
        ValueError: If the lists differ in length, or a first kernel is even.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        mid_channels: Sequence[int],
        out_channels: Sequence[int],
        mid_kernels: Sequence[int],
        out_kernels: Sequence[int],
        strides: Sequence[int],
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = _RELU,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = _INIT,
    ) -> None:
        super().__init__(init_cfg)
        per_map = (mid_channels, out_channels, mid_kernels, out_kernels, strides)
        if len({len(values) for values in per_map}) != 1:
            raise ValueError(
                'SSDExtraLayers needs mid_channels, out_channels, mid_kernels, out_kernels and '
                f'strides of one length, got {", ".join(str(len(v)) for v in per_map)}'
            )
        if any(kernel % 2 == 0 for kernel in mid_kernels):
            raise ValueError(f'SSDExtraLayers.mid_kernels must be odd, got {tuple(mid_kernels)}')
        self.extra_layers = nn.ModuleList()
        for mid, out, mid_kernel, out_kernel, stride in zip(*per_map, strict=True):
            common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
            self.extra_layers.append(
                nn.Sequential(
                    ConvModule(in_channels, mid, mid_kernel, padding=mid_kernel // 2, **common),
                    ConvModule(mid, out, out_kernel, stride=stride, padding=1, **common),
                )
            )
            in_channels = out

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the backbone's map and the new ones, largest first."""
        (feature,) = inputs
        maps = [feature]
        for layer in self.extra_layers:
            maps.append(layer(maps[-1]))
        return tuple(maps)
