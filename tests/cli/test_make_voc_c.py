from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adasap_det.cli.make_voc_c import main

from ..helpers.source_trees import contents, make_coco, make_voc

SMALL = ['--corruptions', 'contrast', 'brightness', '--severities', '1', '5', '--workers', '0']
ROOT = Path(__file__).parents[2]


@pytest.fixture
def voc(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('VOC_ROOT', raising=False)
    return make_voc(tmp_path / 'data/VOCdevkit', 5)


def fails(capsys, command):
    """The one line that an error costs."""
    assert main(command) == 2
    text = capsys.readouterr().err
    assert 'Traceback' not in text
    return text[text.index('adasap-make-voc-c: error: ') :]


def test_the_default_is_voc2007_test_where_the_configs_look(voc, tmp_path, capsys):
    assert main(SMALL) == 0
    text = capsys.readouterr()
    assert '5 images x 2 corruptions x 2 severities = 20 files' in text.out
    assert 'disk: about' in text.out
    assert f'{tmp_path}/data/VOC2007-C: 4 cells of 5 images' in text.out
    assert f'test_robustness.py CONFIG CHECKPOINT --benchmark {tmp_path}/data/VOC2007-C' in text.out
    assert '5 of 5 images' in text.err and 'left' in text.err
    assert (tmp_path / 'data/VOC2007-C/contrast/5/VOC2007/JPEGImages/000005.jpg').is_file()


def test_voc_root_moves_the_data(voc, tmp_path, monkeypatch):
    monkeypatch.setenv('VOC_ROOT', str((tmp_path / 'data').rename(tmp_path / 'd') / 'VOCdevkit'))
    assert main([*SMALL, '--quiet']) == 0
    assert (tmp_path / 'data/VOC2007-C/manifest.json').is_file()


def test_missing_data_says_where_and_how(voc, capsys):
    shutil.rmtree(voc)
    text = fails(capsys, SMALL)
    assert 'the folder data/VOCdevkit/VOC2007 does not exist' in text
    assert 'python tools/prepare_voc.py' in text
    assert not Path('data/VOC2007-C').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--corruptions', 'smoke'], "unknown corruption 'smoke'"),
        (['--severities', '6'], 'severity 6 is not one of 1, 2, 3, 4, 5'),
        (['--quality', '200'], 'quality is 200'),
        (['--seed', '-3'], 'seed is -3'),
        (['--workers', '-1'], 'workers is -1'),
        (['--subset', '0'], 'subset is 0'),
        (['--subset', 'absent.txt'], 'neither a number nor a readable text file'),
        (['--split', 'val'], 'val.txt does not exist'),
        (['--year', '1999'], 'VOC1999 does not exist'),
        (['--layout', 'coco', '--source', 'data'], 'needs --annotations and --images'),
        (['--layout', 'folder'], 'needs --source'),
        (['--annotations', 'x.json'], 'go with --layout coco'),
        (['--dask', 'tcp://x:1'], 'not both'),
        (['--out', 'data/VOCdevkit'], 'holds other things (VOC2007)'),
        (['--out', 'file'], 'there is a file where a folder should be'),
        (['--source', 'file'], 'does not exist'),
        (['--verify', '--out', 'data'], 'is no finished benchmark'),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(voc, tmp_path, capsys, options, message):
    (tmp_path / 'file').write_text('in the way')
    before = contents(tmp_path)
    assert message in fails(capsys, [*SMALL, *options])
    assert contents(tmp_path) == before


def test_skips_are_listed_and_the_status_is_not_zero(voc, capsys):
    path = voc / 'VOC2007/JPEGImages/000002.jpg'
    path.write_bytes(path.read_bytes()[:500])
    text = fails(capsys, SMALL)
    assert '000002.jpg: the JPEG is cut off; mend it, or leave it out with --on-error skip' in text
    assert main([*SMALL, '--on-error', 'skip']) == 1
    text = capsys.readouterr()
    assert '1 images left out' in text.err
    assert '000002: JPEGImages/000002.jpg: the JPEG is cut off' in text.err
    assert '4 cells of 4 images' in text.out


def test_verify_and_mend(voc, tmp_path, capsys):
    assert main([*SMALL, '--out', 'out', '--quiet']) == 0
    whole = contents(tmp_path / 'out')
    assert main(['--verify', '--out', 'out', '--workers', '0']) == 0
    assert 'as they were built' in capsys.readouterr().out
    (tmp_path / 'out/contrast/1/VOC2007/JPEGImages/000003.jpg').unlink()
    (tmp_path / 'out/contrast/5/VOC2007/JPEGImages/000004.jpg').write_bytes(b'x')
    assert main(['--verify', '--out', 'out', '--workers', '0']) == 1
    text = capsys.readouterr().err
    assert 'missing: contrast/1/VOC2007/JPEGImages/000003.jpg' in text
    assert 'damaged: contrast/5/VOC2007/JPEGImages/000004.jpg' in text
    assert main([*SMALL, '--out', 'out']) == 0
    assert contents(tmp_path / 'out') == whole


def test_other_options_are_refused(voc, capsys):
    assert main([*SMALL, '--quiet']) == 0
    assert 'quality: 95 there, 90 asked for' in fails(capsys, [*SMALL, '--quality', '90'])
    assert main([*SMALL, '--quality', '90', '--overwrite', '--quiet']) == 0


def test_coco_and_folders(voc, tmp_path):
    make_coco(tmp_path / 'coco', 3)
    coco = ['--layout', 'coco', '--source', 'coco', '--annotations', 'annotations/val.json']
    assert main([*SMALL, *coco, '--images', 'val']) == 0
    assert (tmp_path / 'data/val-C/brightness/1/val/000000000000.jpg').is_file()
    assert main([*SMALL, '--layout', 'folder', '--source', 'coco', '--format', 'png']) == 0
    assert (tmp_path / 'data/coco-C/brightness/1/val/000000000000.png').is_file()


def test_interrupted(voc, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr('adasap_det.robustness.benchmark.journal.Journal.add', interrupt)
    assert main(SMALL) == 130
    assert 'run the same again to go on' in capsys.readouterr().err


@pytest.mark.slow
def test_the_tool_runs(voc, tmp_path):
    tool = ROOT / 'tools' / 'make_voc_c.py'
    if not tool.is_file():
        pytest.skip('no checkout')
    run = subprocess.run(
        [sys.executable, tool, *SMALL[:-2], '--workers', '1'], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / 'data/VOC2007-C/manifest.json').is_file()
