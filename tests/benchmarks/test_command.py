"""What the command lines of the studies share, by way of one of them."""

import shutil

from .conftest import BENCHMARKS


def test_a_study_shows_what_is_recorded_and_trains_nothing(script, tmp_path, capsys):
    record = tmp_path / 'voc2012.json'
    shutil.copy(BENCHMARKS / 'results/voc2012.json', record)
    out = tmp_path / 'runs'
    options = ['--out', str(out), '--table-only', '--network', 'ssdlite128_voc2012_900']
    assert script('voc2012').main([*options, '--record', str(record)]) == 0
    shown = capsys.readouterr().out
    (dense,) = [line for line in shown.splitlines() if '| dense' in line and 'ssdlite128' in line]
    assert '23.1' in dense  # clean AP50 of the recorded run
    assert not out.exists()
    assert record.read_bytes() == (BENCHMARKS / 'results/voc2012.json').read_bytes()


def test_without_a_record_only_what_is_there_is_shown(script, tmp_path, capsys):
    assert script('cifar10').main(['--out', str(tmp_path), '--table-only']) == 0
    assert '| dense' not in capsys.readouterr().out
