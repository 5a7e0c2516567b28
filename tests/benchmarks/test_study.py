"""Studies: their command line, and evaluations on the right benchmark."""

import shutil

import pytest

from adasap_det.robustness.benchmark.manifest import Manifest, manifest_bytes
from adasap_det.robustness.results import Cell, DatasetInfo, ModelInfo, save_cell, save_model

from .conftest import BENCHMARKS


@pytest.fixture
def benchmark(tmp_path):
    """Return a function that makes a finished benchmark without images."""

    def make(name):
        options = {'corruptions': ['fog'], 'severities': [1], 'seed': 3}
        manifest = Manifest('1', {}, {}, options, {}, {}, {}, {}, {})
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'manifest.json').write_bytes(manifest_bytes(manifest))
        return folder

    return make


def test_evaluation_on_another_benchmark_is_rejected(script, benchmark, tmp_path, monkeypatch):
    study = script('study')
    calls = []
    monkeypatch.setattr(study, 'call', lambda *arguments, log: calls.append(arguments))
    first, second = benchmark('first'), benchmark('second')
    checkpoint = tmp_path / 'run/epoch_2.pth'
    folder = checkpoint.parent / 'robustness'
    save_cell(folder, Cell(None, 0, 'the data set of the config', 3, {'AP50': 0.5}))
    save_cell(folder, Cell('fog', 1, 'benchmark first, seed 3', 3, {'AP50': 0.3}))

    study.evaluate('c.py', checkpoint, second)
    assert len(calls) == 1  # An unfinished evaluation resumes: the tool checks each cell.
    data = DatasetInfo('VOCDataset', 'val.txt', 3, ('a',))
    save_model(folder, ModelInfo('n', 'c.py', 'x.pth', '0' * 64, 1, 1, None, None, None, data))
    # A leftover of an earlier run, not part of the results.
    save_cell(folder, Cell('snow', 1, 'benchmark old, seed 3', 3, {'AP50': 0.3}, conditions='old'))
    study.evaluate('c.py', checkpoint, first)
    assert len(calls) == 1
    with pytest.raises(SystemExit, match=r'robustness holds .* first, seed 3, not on .* second'):
        study.evaluate('c.py', checkpoint, second)
    study.evaluate('c.py', checkpoint, second, results='second_set')
    assert len(calls) == 2


@pytest.mark.parametrize(
    ('name', 'dense', 'clean'),
    [('voc2012', 'ssdlite128_voc2012_900', '23.1'), ('cifar10', 'mobilenetv2_cifar10_5k', '74.2')],
)
def test_table_only_shows_recorded_results_without_training(
    script, name, dense, clean, tmp_path, capsys
):
    study = script(name).STUDY
    kept = BENCHMARKS / f'results/{name}.json'
    record = shutil.copy(kept, tmp_path / 'found.json')
    out = tmp_path / 'runs'
    assert study.main(['--table-only', '--out', str(out), '--record', str(record)]) == 0
    shown = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split('|')[1:]] for line in shown]
    found = {(r.network, f'{r.keep_ratio:g}', r.arm) for r in script('records').read(record)}
    assert found <= {tuple(row[:3]) for row in rows}
    (row,) = [row for row in rows if row[:3] == [dense, '1', 'dense']]
    assert clean in row
    assert not out.exists()
    assert record.read_bytes() == kept.read_bytes()


def test_without_a_record_file_only_local_runs_are_shown(script, tmp_path, capsys):
    assert script('cifar10').STUDY.main(['--out', str(tmp_path), '--table-only']) == 0
    assert '| dense' not in capsys.readouterr().out
