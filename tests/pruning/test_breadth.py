"""The networks of the table in docs/supported.md: some of them here, all of them in the script."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from adasap_det.export import make_graph
from adasap_det.export.onnx import (
    export_onnx,
    largest_difference,
    onnx_outputs,
    onnx_session,
    sample,
)
from adasap_det.pruning import find_channel_groups, prune_channels
from adasap_det.pruning.graph.tracing import example_image

SCRIPT = Path(__file__).parents[2] / 'benchmarks' / 'breadth.py'


@pytest.fixture(scope='module')
def breadth():
    spec = importlib.util.spec_from_file_location('breadth', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules['breadth'] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'SSDLite-MobileNetV2',
        'RetinaNet-R18-FPN',
        'FCOS-R50-FPN (group norm)',
        'YOLOX-tiny (CSPDarknet)',
        'RTMDet-tiny (CSPNeXt)',
        'DETR-R50',
        'DINO-R50',
    ],
)
def test_pruned_detectors_train_reload_and_predict(breadth, name):
    found = breadth.try_out(breadth.DETECTORS[name])
    assert found.problem is None
    assert found.structure == breadth.structure_file(name).read_text('utf-8')
    before, after = found.params
    assert 0.45 * before < after <= 0.5 * before
    assert found.macs[1] < found.macs[0]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ResNet-18', 'RegNetX-400MF', 'MobileNetV2', 'Swin-T', 'DeiT-S'])
def test_pruned_classifiers_train_reload_and_predict(breadth, name):
    pytest.importorskip('mmpretrain')
    found = breadth.try_out(breadth.CLASSIFIERS[name])
    assert found.problem is None
    assert found.structure == breadth.structure_file(name).read_text('utf-8')
    assert 0.45 < found.params[1] / found.params[0] <= 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('name', ['Swin-T', 'DeiT-S'])
def test_transformers_without_heads_are_exported(breadth, name, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('mmpretrain')
    cfg = breadth.read(breadth.CLASSIFIERS[name])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    groups = find_channel_groups(model, example_image((224, 224))).groups
    heads = [group for group in groups if group.width > 1]
    assert len(heads) == 12
    prune_channels(model, heads, {group.name: torch.arange(1, group.size) for group in heads})
    graph = make_graph(model, nms=False)
    file = tmp_path / 'model.onnx'
    export_onnx(graph, file, input_size=(224, 224))
    images = sample((224, 224))
    with torch.no_grad():
        ours = list(graph(images))
    assert largest_difference(ours, onnx_outputs(onnx_session(file), images)) < 1e-4


def test_docs_table_lists_every_network(breadth):
    table = (SCRIPT.parents[1] / 'docs' / 'supported.md').read_text('utf-8')
    assert [name for name in breadth.NETWORKS if f'\n| {name} |' not in table] == []
    rows = [line for line in table.splitlines() if line.startswith('| ')]
    assert len(rows) == len(breadth.NETWORKS) + 2  # the head


def test_every_network_has_a_structure_file_of_its_own(breadth):
    files = [breadth.structure_file(name) for name in breadth.NETWORKS]
    assert len(set(files)) == len(files)
    assert [file.name for file in files if not file.exists()] == []


def test_an_interrupted_table_is_resumed_in_order(breadth, tmp_path, monkeypatch):
    names = ['ResNet-18', 'DLA, not installed', 'MobileNetV2']
    configs = ['timm::resnet18', 'not_installed_::dla', 'timm::mobilenetv2_100']
    monkeypatch.setattr(breadth, 'NETWORKS', dict(zip(names, configs, strict=True)))
    monkeypatch.setattr(breadth, 'installed', lambda config: 'not' not in config)
    tried = []

    def try_out(config):
        tried.append(config)
        return breadth.Outcome(groups=12, approximate=3, permutation_error=2.44e-15)

    monkeypatch.setattr(breadth, 'try_out', try_out)
    table = tmp_path / 'table.md'
    breadth.main(['--table', str(table), '--only', 'MobileNetV2'])
    breadth.main(['--table', str(table)])
    assert tried == [configs[2], configs[0]]
    lines = table.read_text('utf-8').splitlines()
    assert lines[:2] == breadth.HEADER.splitlines()
    assert [line.split(' | ')[0] for line in lines[2:]] == ['| ResNet-18', '| MobileNetV2']
    assert ' | 12 | 3 | 2e-15 | ' in lines[2]
