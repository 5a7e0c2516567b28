"""What the command lines of the studies share."""

import shutil

import pytest

from .conftest import BENCHMARKS


@pytest.mark.parametrize(
    ('name', 'dense', 'clean'),
    [('voc2012', 'ssdlite128_voc2012_900', '23.1'), ('cifar10', 'mobilenetv2_cifar10_5k', '74.2')],
)
def test_a_study_shows_what_is_recorded_and_trains_nothing(
    script, name, dense, clean, tmp_path, capsys
):
    study = script(name)
    kept = BENCHMARKS / f'results/{name}.json'
    record = shutil.copy(kept, tmp_path / 'found.json')
    out = tmp_path / 'runs'
    assert study.main(['--table-only', '--out', str(out), '--record', str(record)]) == 0
    shown = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split('|')[1:]] for line in shown]
    found = {(r.network, f'{r.keep:g}', r.arm) for r in study.records.read(record)}
    assert found <= {tuple(row[:3]) for row in rows}
    (row,) = [row for row in rows if row[:3] == [dense, '1', 'dense']]
    assert clean in row
    assert not out.exists()
    assert record.read_bytes() == kept.read_bytes()


def test_without_a_record_only_what_is_there_is_shown(script, tmp_path, capsys):
    assert script('cifar10').main(['--out', str(tmp_path), '--table-only']) == 0
    assert '| dense' not in capsys.readouterr().out
