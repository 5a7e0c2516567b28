"""What the studies share: whether an evaluation is the one that is asked for."""

import pytest

from adasap_det.robustness.benchmark.manifest import Manifest, manifest_bytes
from adasap_det.robustness.results import Cell, DatasetInfo, ModelInfo, save_cell, save_model


@pytest.fixture
def benchmark(tmp_path):
    """Makes a finished benchmark, as far as its name tells it from another."""

    def make(name):
        options = {'corruptions': ['fog'], 'severities': [1], 'seed': 3}
        manifest = Manifest('1', {}, {}, options, {}, {}, {}, {}, {})
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'manifest.json').write_bytes(manifest_bytes(manifest))
        return folder

    return make


def test_an_evaluation_on_another_benchmark_is_not_taken_for_this_one(
    script, benchmark, tmp_path, monkeypatch
):
    study = script('study')
    calls = []
    monkeypatch.setattr(study, 'call', lambda *arguments, log: calls.append(arguments))
    first, second = benchmark('first'), benchmark('second')
    checkpoint = tmp_path / 'run/epoch_2.pth'
    folder = checkpoint.parent / 'robustness'
    save_cell(folder, Cell(None, 0, 'the data set of the config', 3, {'AP50': 0.5}))
    save_cell(folder, Cell('fog', 1, 'benchmark first, seed 3', 3, {'AP50': 0.3}))

    study.evaluate('c.py', checkpoint, second)
    assert len(calls) == 1  # What was stopped goes on: the tool itself looks at each cell.
    data = DatasetInfo('VOCDataset', 'val.txt', 3, ('a',))
    save_model(folder, ModelInfo('n', 'c.py', 'x.pth', '0' * 64, 1, 1, None, None, None, data))
    # Left over from an earlier run, and no part of the results.
    save_cell(folder, Cell('snow', 1, 'benchmark old, seed 3', 3, {'AP50': 0.3}, conditions='old'))
    study.evaluate('c.py', checkpoint, first)
    assert len(calls) == 1
    with pytest.raises(SystemExit, match=r'robustness holds .* first, seed 3, not on .* second'):
        study.evaluate('c.py', checkpoint, second)
    study.evaluate('c.py', checkpoint, second, results='second_set')
    assert len(calls) == 2
