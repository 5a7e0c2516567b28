"""The networks of the table in docs/supported.md: some of them here, all of them in the script."""

import importlib.util
import sys
from pathlib import Path

import pytest

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
    ],
)
def test_pruned_detectors_train_reload_and_predict(breadth, name):
    found = breadth.try_out(breadth.DETECTORS[name])
    assert found.problem is None
    before, after = found.params
    assert 0.45 * before < after <= 0.5 * before
    assert found.macs[1] < found.macs[0]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ResNet-18', 'RegNetX-400MF', 'MobileNetV2'])
def test_pruned_classifiers_train_reload_and_predict(breadth, name):
    pytest.importorskip('mmpretrain')
    found = breadth.try_out(breadth.CLASSIFIERS[name])
    assert found.problem is None
    assert 0.45 < found.params[1] / found.params[0] <= 0.5


def test_docs_table_lists_every_network(breadth):
    table = (SCRIPT.parents[1] / 'docs' / 'supported.md').read_text('utf-8')
    for name in breadth.DETECTORS | breadth.CLASSIFIERS:
        assert f'| {name} |' in table
