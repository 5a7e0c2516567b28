import pytest
import torch

from adasap_det.deploy import make_graph
from adasap_det.deploy.variants import runnable

CPU = torch.device('cpu')


@pytest.mark.parametrize(
    ('variant', 'tolerance'),
    [('eager', 1e-6), ('channels-last', 1e-3), ('bf16', 0.5), ('onnxruntime', 1e-3)],
)
def test_each_runs_the_same_network(detector, picture, variant, tolerance):
    if variant == 'onnxruntime':
        pytest.importorskip('onnxruntime')
        pytest.importorskip('onnx')
    graph = make_graph(detector, nms=False)
    images = torch.cat([picture, picture.flip(-1)])
    with torch.inference_mode():
        expected = graph(images)
        actual = runnable(graph, variant, images, device=CPU)()
    for one, other in zip(expected, actual, strict=True):
        assert one.shape == other.shape
        scale = max(1.0, float(one.abs().max()))
        assert float((one - other.float()).abs().max()) <= tolerance * scale
    assert next(graph.parameters()).dtype == torch.float32


def test_an_unknown_way_is_named(detector, picture):
    with pytest.raises(ValueError, match=r"'abacus' is no way.*eager"):
        runnable(detector, 'abacus', picture, device=CPU)
