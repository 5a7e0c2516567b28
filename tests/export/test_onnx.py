import copy

import pytest
import torch

from adasap_det import load_pruned
from adasap_det.export import export_onnx, make_graph
from adasap_det.export.onnx import largest_difference, onnx_outputs, onnx_session
from adasap_det.pruning import (
    MagnitudeImportance,
    ParamsBudget,
    Pruner,
    count_params,
    save_elastic,
)
from adasap_det.pruning.graph.tracing import example_image

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
SIZE = (96, 96)


@pytest.fixture(scope='module')
def pruned(detector):
    model = copy.deepcopy(detector)
    pruner = Pruner(
        model,
        example_image(SIZE),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
        round_to=4,
    )
    pruner.prune()
    assert count_params(model) <= 0.5 * count_params(detector)
    return model


@pytest.mark.parametrize('nms', [False, True])
def test_onnx_file_matches_pruned_detector(pruned, image, tmp_path, nms):
    graph = make_graph(pruned, nms=nms)
    names = ('boxes', 'scores', 'labels') if nms else None
    outputs = export_onnx(graph, tmp_path / 'net.onnx', input_size=SIZE, names=names)
    with torch.no_grad():
        expected = graph(image)
    actual = onnx_outputs(onnx_session(tmp_path / 'net.onnx'), image)
    assert len(actual) == len(outputs)
    assert largest_difference(expected, actual) < 1e-3
    if nms:
        assert len(actual[1]) > 5
    model = onnx.load(tmp_path / 'net.onnx')
    onnx.checker.check_model(model)
    assert [o.version for o in model.opset_import if o.domain == ''] == [17]
    kinds = {node.op_type for node in model.graph.node}
    assert ('NonMaxSuppression' in kinds) == nms
    assert not list(tmp_path.glob('*.tmp'))


def test_any_size_from_one_file_is_exported(detector, image, tmp_path):
    pruner = Pruner(
        copy.deepcopy(detector),
        example_image(SIZE),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )
    save_elastic(tmp_path / 'sizes.pth', pruner, pruner.removal_order())
    small = load_pruned(copy.deepcopy(detector), tmp_path / 'sizes.pth', keep_ratio=0.35)
    assert 0.34 < count_params(small) / count_params(detector) <= 0.35
    graph = make_graph(small, nms=False)
    export_onnx(graph, tmp_path / 'net.onnx', input_size=SIZE)
    with torch.no_grad():
        expected = graph(image)
    assert (
        largest_difference(expected, onnx_outputs(onnx_session(tmp_path / 'net.onnx'), image))
        < 1e-3
    )


def test_detections_depend_on_the_image(pruned, image, tmp_path):
    """Nothing of the traced image stays in the graph."""
    graph = make_graph(pruned, nms=True)
    export_onnx(graph, tmp_path / 'net.onnx', input_size=SIZE, names=('boxes', 'scores', 'labels'))
    session = onnx_session(tmp_path / 'net.onnx')
    for images in (image, image.flip(-1) * 0.3):
        with torch.no_grad():
            expected = graph(images)
        assert largest_difference(expected, onnx_outputs(session, images)) < 1e-3


def test_batch_size_is_dynamic(pruned, image, tmp_path):
    graph = make_graph(pruned, nms=False)
    export_onnx(graph, tmp_path / 'net.onnx', input_size=SIZE, dynamic_batch=True)
    images = torch.cat([image, image.flip(-1), image.flip(-2)])
    with torch.no_grad():
        expected = graph(images)
    actual = onnx_outputs(onnx_session(tmp_path / 'net.onnx'), images)
    assert largest_difference(expected, actual) < 1e-3


def test_old_opset_is_an_error(pruned, tmp_path):
    with pytest.raises(ValueError, match='opset must be at least 17, got 11'):
        export_onnx(pruned, tmp_path / 'net.onnx', input_size=SIZE, opset=11)


def test_differences_above_one_are_relative():
    ones = [torch.tensor([0.5, 0.25])]
    assert largest_difference(ones, [torch.tensor([0.5, 0.3])]) == pytest.approx(0.05)
    assert largest_difference([torch.tensor([200.0])], [torch.tensor([201.0])]) == 0.005
    assert largest_difference(ones, [torch.zeros(3)]) == float('inf')
    assert largest_difference(ones, [torch.tensor([0.5, float('nan')])]) == float('inf')
