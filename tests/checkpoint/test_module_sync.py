"""Attributes of modules that are not PyTorch's."""

import pytest
import torch
from torch import nn

from adasap_det import Pruner, load_pruned
from adasap_det.pruning import MagnitudeImportance, ParamsBudget


class ConvAct(nn.Module):
    """Tells its convolution's channels by properties, as timm's ConvNormAct does."""

    def __init__(self, *channels):
        super().__init__()
        self.conv = nn.Conv2d(*channels, 3, padding=1)

    @property
    def in_channels(self):
        return self.conv.in_channels

    @property
    def out_channels(self):
        return self.conv.out_channels

    def forward(self, x):
        return self.conv(x).relu()


class OwnConv(ConvAct):
    """Repeats channels as mmcv's ConvModule does, and has attributes that mean something else."""

    in_channels = out_channels = None

    def __init__(self, *channels):
        super().__init__(*channels)
        self.in_channels, self.out_channels = channels
        self.groups = 4
        self.n_dims = 2
        self.weight = nn.Parameter(torch.ones(channels[1], 1, 1))

    def forward(self, x):
        return super().forward(x) * self.weight


class FixedDims(nn.Module):
    """A scale of its own, whose ``n_dims`` cannot be set."""

    n_dims = property(lambda self: self.weight.numel())

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.weight


def prune(model, inputs, keep_ratio=0.5):
    pruner = Pruner(
        model,
        inputs,
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=keep_ratio),
    )
    pruner.prune()
    return pruner


def test_only_own_attributes_that_mean_channels_are_changed():
    model = nn.Sequential(ConvAct(3, 16), OwnConv(16, 16), FixedDims(16), nn.Conv2d(16, 2, 1))
    assert not prune(model, torch.rand(1, 3, 8, 8)).skipped.keys() - {'3'}
    first, own, scale, out = model
    assert first.out_channels == own.in_channels == own.conv.in_channels < 16
    assert own.out_channels == own.conv.out_channels == scale.n_dims == out.in_channels < 16
    assert (own.groups, own.n_dims) == (4, 2)
    assert not {'in_channels', 'out_channels', 'groups'} & vars(first).keys()


@pytest.mark.parametrize('name', ['regnety_002', 'repvgg_a0'])
def test_timm_networks_are_pruned_and_reload(name):
    timm = pytest.importorskip('timm')
    inputs = torch.rand(1, 3, 64, 64)
    model = timm.create_model(name, pretrained=False).eval()
    assert prune(model, inputs, keep_ratio=0.8).groups
    again = load_pruned(timm.create_model(name, pretrained=False).eval(), model.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(inputs), model(inputs))
