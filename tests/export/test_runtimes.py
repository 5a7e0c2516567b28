import pytest
import torch
from torch import nn

from adasap_det.export import make_graph
from adasap_det.export.runtimes import device_of, runnable

from ..helpers.frozen_batch import FrozenBatch

CPU = torch.device('cpu')


@pytest.mark.parametrize(
    ('variant', 'tolerance'),
    [
        ('eager', 1e-6),
        ('channels-last', 1e-3),
        ('bf16', 0.5),
        ('export', 1e-5),
        ('onnxruntime', 1e-3),
    ],
)
def test_all_runtimes_run_the_same_network(detector, image, variant, tolerance):
    if variant == 'onnxruntime':
        pytest.importorskip('onnxruntime')
        pytest.importorskip('onnx')
    graph = make_graph(detector, nms=False)
    images = torch.cat([image, image.flip(-1)])
    with torch.inference_mode():
        expected = graph(images)
        actual = runnable(graph, variant, images, device=CPU)()
    for one, other in zip(expected, actual, strict=True):
        assert one.shape == other.shape
        scale = max(1.0, float(one.abs().max()))
        assert float((one - other.float()).abs().max()) <= tolerance * scale
    assert next(graph.parameters()).dtype == torch.float32


def test_onnxruntime_uses_the_given_batch_size():
    """Swin's, with their number left open, is another network's for all but one."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    graph = FrozenBatch(-1)
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(runnable(graph, 'onnxruntime', images, device=CPU)()[0], graph(images)[0])


def test_onnxruntime_is_on_the_cpu():
    assert device_of('onnxruntime', torch.device('cuda')) == CPU
    assert device_of('eager', torch.device('cuda')) == torch.device('cuda')


def test_unknown_runtime_is_an_error(detector, image):
    with pytest.raises(ValueError, match=r"'abacus' is no way.*eager"):
        runnable(detector, 'abacus', image, device=CPU)


def test_int8_quantizes_linear_layers():
    """Each value within the steps of 8 bits, and the weights really are of that type."""
    pytest.importorskip('torchao')
    torch.manual_seed(0)
    graph = nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 32)).eval()
    images = torch.rand(2, 3, 4, 4)
    with torch.inference_mode():
        expected = graph(images)
        actual = runnable(graph, 'int8', images, device=CPU)()
    assert 0 < float((expected - actual).abs().max()) < 0.05 * float(expected.abs().max())


def test_int8_without_linear_layers_is_an_error(detector, image):
    with pytest.raises(RuntimeError, match='int8 is for linear layers, and this network has none'):
        runnable(make_graph(detector, nms=False), 'int8', image, device=CPU)
