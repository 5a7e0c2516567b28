"""The notebook runs from the first cell to the last, with the results that it describes."""

import json
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
    'sizes': [[size.keep_ratio, size.ap50, size.parameters] for size in results.sizes],
    'loaded': sum(p.numel() for p in model.parameters()),
    'detections': [str(path) for path in detections],
}))
"""
FIGURES = ['data', 'corrupt', 'compare', 'images']
"""Cells that show an image."""


def _showing(notebook):
    return [
        cell.id
        for cell in notebook.cells
        if any(
            kind in out.get('data', {})
            for out in cell.get('outputs', [])
            for kind in ('image/png', 'image/svg+xml')
        )
    ]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_stored_with_the_outputs_of_one_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [out for cell in cells for out in cell.outputs]
    assert not any(out.output_type == 'error' for out in outputs)
    assert not any(out.get('name') == 'stderr' for out in outputs)
    assert _showing(notebook) == FIGURES


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
            timeout=900,  # seconds per cell
            kernel_name='python3',
            resources={'metadata': {'path': str(folder)}},
        )
        client.execute()
    (stream,) = (out for out in notebook.cells[-1].outputs if out.output_type == 'stream')
    return notebook, json.loads(stream.text), folder


@pytest.mark.slow
def test_both_networks_are_evaluated_at_every_size(executed):
    sizes = executed[1]['sizes']
    assert [ratio for ratio, _, _ in sizes] == [1.0, 0.6, 0.4, 0.2]
    whole = sizes[0][2]['plain']
    for ratio, ap50, parameters in sizes:
        for name in ('plain', 'elastic'):
            assert parameters[name] <= ratio * whole
            assert ap50[name] > 2  # random detections score about 0


@pytest.mark.slow
def test_size_between_the_evaluated_ones_is_loaded(executed):
    _, found, _ = executed
    assert 0.2 < found['loaded'] / found['sizes'][0][2]['plain'] <= 0.25


@pytest.mark.slow
def test_images_are_shown(executed):
    notebook, found, folder = executed
    assert len(found['detections']) == 3
    assert all((folder / path).stat().st_size > 1000 for path in found['detections'])
    assert _showing(notebook) == FIGURES
