"""Random weights with which scores differ from place to place, as a trained detector's do."""

from __future__ import annotations

import torch
from torch import nn


def make_lively(model: nn.Module, size: tuple[int, int]) -> None:
    """Spread the outputs of an untrained detector, in place: no two scores are the same."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            with torch.no_grad():
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 3, *size, generator=generator), mode='tensor')
    model.eval()
