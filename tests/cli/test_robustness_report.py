from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adasap_det.cli.robustness_report import main

from ..helpers.result_folders import make_results

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folders(tmp_path):
    cells = [('fog', 1), ('fog', 3)]
    return [
        str(make_results(tmp_path / name, name, cells=cells, layers=())) for name in ('one', 'two')
    ]


def test_report_is_written_and_its_path_printed(folders, tmp_path, capsys):
    out = tmp_path / 'out'
    command = [*folders, '--out', str(out), '--title', 'My title', '--metric', 'AP']
    assert main([*command, '--baseline', 'two']) == 0
    assert capsys.readouterr().out == f'{out}/report.html\n'
    page = (out / 'report.html').read_text('utf-8')
    assert '<h1>My title</h1>' in page and 'P, AP in %' in page
    assert '"baseline": "two"' in (out / 'report.json').read_text('utf-8')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--metric', 'AP75'], "metric 'AP75' was not measured"),
        (['--baseline', 'three'], "baseline 'three' is not one of the models: one, two"),
    ],
)
def test_usage_errors_are_one_line(folders, tmp_path, capsys, options, message):
    assert main([*folders, '--out', str(tmp_path / 'out'), *options]) == 2
    text = capsys.readouterr().err
    assert text.startswith('adasap-robustness-report: error: ') and message in text
    assert text.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_error_names_a_folder_without_results(tmp_path, capsys):
    assert main([str(tmp_path / 'nowhere'), '--out', str(tmp_path / 'out')]) == 2
    text = capsys.readouterr().err
    assert 'nowhere' in text and 'Traceback' not in text


@pytest.mark.slow
def test_tool_runs_from_the_checkout(folders, tmp_path):
    command = [sys.executable, str(ROOT / 'tools/robustness_report.py'), *folders]
    command += ['--out', str(tmp_path / 'out')]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert (tmp_path / 'out/report.html').is_file()
