from __future__ import annotations

import os

import pytest

from adasap_det.robustness.report import write_report


@pytest.fixture
def results(model):
    return [model(cells=[('fog', 1)], layers=())]


def test_writes_three_files_and_nothing_else(tmp_path, results):
    out = tmp_path / 'new/report'
    assert write_report(results, out) == out / 'report.html'
    assert sorted(os.listdir(out)) == ['report.csv', 'report.html', 'report.json']
    assert (out / 'report.html').read_text('utf-8').startswith('<!DOCTYPE html>')


@pytest.mark.parametrize('failing', [1, 2, 3])
def test_full_disk_leaves_an_earlier_report_unchanged(tmp_path, results, monkeypatch, failing):
    out = tmp_path / 'report'
    write_report(results, out, title='old')
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_report(results, out, title='new')
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_earlier_report_is_replaced(tmp_path, results):
    write_report(results, tmp_path / 'r', title='old')
    page = write_report(results, tmp_path / 'r', title='new')
    assert '<h1>new</h1>' in page.read_text('utf-8')
    assert len(list((tmp_path / 'r').iterdir())) == 3


def test_output_folder_that_is_a_file_is_rejected(tmp_path, results):
    (tmp_path / 'file').write_text('mine')
    for out in (tmp_path / 'file', tmp_path / 'file/report'):
        with pytest.raises(ValueError, match='is a file, not a folder'):
            write_report(results, out)
    assert (tmp_path / 'file').read_text() == 'mine'


def test_invalid_input_creates_no_folder(tmp_path, results):
    with pytest.raises(ValueError, match='AP75'):
        write_report(results, tmp_path / 'r', metric='AP75')
    assert not (tmp_path / 'r').exists()


def test_names_with_lone_surrogates(tmp_path, model):
    results = [model('a\ud800b', cells=[('fog', 1)], layers=())]
    page = write_report(results, tmp_path / 'r', title='x\ud800')
    assert 'a\ufffdb' in page.read_text('utf-8')
