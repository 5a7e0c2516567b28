import pytest
import torch
from torch import nn

from adasap_det.pruning.budgets.latency.layers import describe_call, layer_calls
from adasap_det.pruning.graph.tracing import example_image

from ....helpers.toy import ToyDetector

CASES = {
    'plain': (nn.Conv2d(6, 8, 3, stride=2, padding=1), (1, 6, 9, 7)),
    'same': (nn.Conv2d(6, 8, 5, padding='same', dilation=2), (1, 6, 9, 7)),
    'depthwise': (nn.Conv2d(6, 6, 3, groups=6, bias=False), (1, 6, 9, 7)),
    'grouped': (nn.Conv2d(6, 8, (1, 3), groups=2), (1, 6, 9, 7)),
    'transposed': (
        nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1, groups=2),
        (1, 6, 5, 4),
    ),
    'linear': (nn.Linear(6, 5), (1, 7, 6)),
    'one-dimensional': (nn.Conv1d(6, 8, 3), (1, 6, 20)),
}


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('batch_size', [1, 3])
def test_a_layer_is_built_again_from_its_kind(name, batch_size):
    """Same work: same weights' shape, same number of output elements as in a batch."""
    layer, shape = CASES[name]
    inputs = torch.rand(shape)
    kind, positions = describe_call(
        layer, inputs, layer(inputs), batch_size=batch_size, dtype=torch.float32
    )
    channels = layer.weight.shape[1], layer.weight.shape[0]
    if name != 'linear':
        channels = layer.in_channels, layer.out_channels
    again, image = kind.build(channels, device=torch.device('cpu'))
    assert again.weight.shape == layer.weight.shape
    assert (again.bias is None) == (layer.bias is None)
    whole = layer(inputs.expand(batch_size, *shape[1:]))
    assert again(image).numel() == whole.numel() == positions * channels[1]


def test_kinds_differ_by_all_but_the_channels():
    def key(layer, channels, size=6):
        inputs = torch.rand(1, channels, size, size)
        return describe_call(layer, inputs, layer(inputs), batch_size=1, dtype=torch.float32)[0].key

    first = key(nn.Conv2d(4, 8, 3), 4)
    assert first == key(nn.Conv2d(2, 5, 3), 2)
    assert first != key(nn.Conv2d(4, 8, 3, padding=1), 4)
    assert first != key(nn.Conv2d(4, 8, 3, groups=2), 4)
    assert first != key(nn.Conv2d(4, 8, 3), 4, size=7)
    assert key(nn.Conv2d(4, 4, 3, groups=4), 4) == key(nn.Conv2d(7, 7, 3, groups=7), 7)


def test_every_call_of_the_forward_pass_is_seen():
    calls = layer_calls(ToyDetector(), example_image((6, 6)), batch_size=2, dtype=torch.bfloat16)
    assert [call.name for call in calls] == [
        'stem', 'inner', 'back', 'depth', 'left', 'right', 'out',
    ]  # fmt: skip
    assert {call.kind.dtype for call in calls} == {'bfloat16'}
    assert all(call.kind.shape == (2, 6, 6) and call.outputs == 72 for call in calls)
