"""Small models with all kinds of channel coupling that the tests need."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn


class ToyDetector(BaseModel):
    """Stem, residual add, depthwise convolution, concat, dropout and an output convolution.

    Channel groups: ``stem`` (8, with ``back`` added to it and ``depth`` over it), ``inner`` (6),
    ``left`` (6) and ``right`` (4), the last two concatenated under one batch norm.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.inner_bn = nn.BatchNorm2d(6, momentum=None)
        self.back = nn.Conv2d(6, 8, 1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.left = nn.Conv2d(8, 6, 1, bias=False)
        self.right = nn.Conv2d(8, 4, 3, stride=1, padding=1)
        self.joint_bn = nn.BatchNorm2d(10)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Conv2d(10, 5, 1)

    def forward(self, inputs: Tensor, targets: Tensor | None = None, mode: str = 'tensor') -> Any:
        x = self.stem_bn(self.stem(inputs)).relu()
        x = x + self.back(self.inner_bn(self.inner(x)).relu())
        x = self.depth(x).relu()
        x = self.joint_bn(torch.cat([self.left(x), self.right(x)], dim=1)).relu()
        x = self.out(self.dropout(x))
        if mode == 'loss':
            off = x.mean((2, 3)) - targets
            return {'loss_fit': off.square().mean(), 'loss_sum': x.sum((1, 2, 3)).tanh().mean()}
        return x


class ResidualBlock(nn.Module):
    """Two convolutions with norms, added to the input, then an activation."""

    def __init__(self, channels: int = 8, inner: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


class ResidualNet(BaseModel):
    """Stem and three residual blocks, with channel groups ``stem``, ``body.<i>.conv1``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock() for _ in range(3)))
        self.out = nn.Conv2d(8, 5, 1)

    def forward(self, inputs: Tensor, targets: Tensor | None = None, mode: str = 'tensor') -> Any:
        x = self.out(self.body(self.stem(inputs).relu()))
        if mode == 'loss':
            return {'loss_fit': (x.mean((2, 3)) - targets).square().mean()}
        return x


class GroupNormNet(nn.Module):
    """Convolution under a group norm of four groups, then an output convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.first(x)).relu())


class GroupedNet(nn.Module):
    """A convolution in two groups between two ordinary ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.grouped(self.first(x).relu()).relu())


class SharedHeadNet(nn.Module):
    """Two levels of different size read by one head, and an L2-norm-like bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.scale = ScaledNorm(6)
        self.down = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.tower = nn.Conv2d(6, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.first(x).relu()
        levels = [self.scale(x), self.down(x)]
        return [self.out(self.tower(level).relu()) for level in levels]


class ScaledNorm(nn.Module):
    """Normalises over the channels and scales each, as MMDetection's L2Norm does."""

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        self.n_dims = n_dims
        self.weight = nn.Parameter(torch.linspace(1, 2, n_dims))

    def forward(self, x: Tensor) -> Tensor:
        norm = x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10
        return self.weight[None, :, None, None].expand_as(x) * x / norm


class FlattenNet(nn.Module):
    """A linear layer over flattened maps, a hidden linear layer and a linear output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.hidden = nn.Linear(4 * 6 * 6, 7)
        self.norm = nn.LayerNorm(7)
        self.out = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.hidden(self.conv(x).relu().flatten(1))))


def toy_batch(seed: int, size: int = 4) -> dict[str, Tensor]:
    """Noise and targets for :class:`ToyDetector`."""
    generator = torch.Generator().manual_seed(seed)
    return {
        'inputs': torch.randn(size, 3, 6, 6, generator=generator),
        'targets': torch.randn(size, 5, generator=generator),
    }


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Set every parameter and floating buffer to random values; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
                if tensor.dim() > 1:
                    tensor.sub_(0.6)
    return model
