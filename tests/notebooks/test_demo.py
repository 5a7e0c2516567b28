"""The notebook runs from the first cell to the last, with the results that it describes."""

import json
import math
import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))

REPORT = """
import json
print(json.dumps({
    'params': params,
    'macs': macs,
    'same': same,
    'robustness': {name: [found.p, found.mpc, found.rpc] for name, found in results.items()},
    'ap50': test,
    'detections': [str(path) for path in detections],
}))
"""


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            assert not cell.outputs and cell.execution_count is None, cell.id


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    """Return the executed notebook, its results, and its folder."""
    folder = tmp_path_factory.mktemp('notebook')
    notebook = nbformat.read(ROOT / 'notebooks' / 'demo.ipynb', as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))
    with pytest.MonkeyPatch.context() as patch:
        # The kernel imports the tested checkout and installs no packages.
        patch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
        client = nbclient.NotebookClient(
            notebook,
            timeout=500,  # seconds per cell
            kernel_name='python3',
            resources={'metadata': {'path': str(folder)}},
        )
        client.execute()
    (stream,) = (out for out in notebook.cells[-1].outputs if out.output_type == 'stream')
    return notebook, json.loads(stream.text), folder


@pytest.mark.slow
def test_half_of_the_parameters_remain(executed):
    _, found, _ = executed
    assert 0.45 < found['params']['AdaSAP'] / found['params']['dense'] <= 0.5
    assert 0.1 < found['macs']['AdaSAP'] / found['macs']['dense'] < 0.9


@pytest.mark.slow
def test_pruned_model_loads_with_the_saved_weights(executed):
    assert executed[1]['same'] is True


@pytest.mark.slow
def test_both_models_are_evaluated_on_every_cell(executed):
    _, found, _ = executed
    for name in ('dense', 'AdaSAP'):
        p, mpc, rpc = found['robustness'][name]
        assert all(math.isfinite(value) and 0 <= value <= 1 for value in (p, mpc))
        # Even so short a training learns something: random detections score about 0.
        assert found['ap50'][name] > 0.02
        assert p > 0 and rpc == pytest.approx(mpc / p)


@pytest.mark.slow
def test_images_are_shown(executed):
    notebook, found, folder = executed
    assert len(found['detections']) == 3
    assert all((folder / path).stat().st_size > 1000 for path in found['detections'])
    shown = [
        cell.id
        for cell in notebook.cells
        if any('image/png' in out.get('data', {}) for out in cell.get('outputs', []))
    ]
    assert shown == ['data', 'corrupt', 'images']
