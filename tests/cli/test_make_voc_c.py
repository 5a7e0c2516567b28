from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adasap_det.cli.make_voc_c import main
from adasap_det.robustness.benchmark import read_manifest
from adasap_det.robustness.benchmark.image_codec import centre_crop, decode, encode
from adasap_det.robustness.corruptions import corrupt_severities

from ..helpers.source_trees import contents, make_coco, make_voc

SMALL = ['--corruptions', 'contrast', 'brightness', '--severities', '1', '5', '--workers', '0']
ROOT = Path(__file__).parents[2]


@pytest.fixture
def voc(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('VOC_ROOT', raising=False)
    return make_voc(tmp_path / 'data/VOCdevkit', 5)


def error_of(capsys, command):
    """Run the command, which must fail, and return its one-line error message."""
    assert main(command) == 2
    text = capsys.readouterr().err
    assert 'Traceback' not in text
    return text[text.index('adasap-make-voc-c: error: ') :]


def test_default_is_voc2007_test_in_the_folder_that_the_configs_use(voc, tmp_path, capsys):
    assert main(SMALL) == 0
    text = capsys.readouterr()
    assert '5 images x 2 corruptions x 2 severities = 20 files' in text.out
    assert text.out.index('estimating disk space') < text.out.index('disk: about')
    assert f'{tmp_path}/data/VOC2007-C: 4 cells of 5 images' in text.out
    assert f'test_robustness.py CONFIG CHECKPOINT --benchmark {tmp_path}/data/VOC2007-C' in text.out
    assert '5 of 5 images' in text.err and 'left' in text.err
    assert (tmp_path / 'data/VOC2007-C/contrast/5/VOC2007/JPEGImages/000005.jpg').is_file()


def test_voc_root_overrides_the_data_folder(voc, tmp_path, monkeypatch):
    monkeypatch.setenv('VOC_ROOT', str((tmp_path / 'data').rename(tmp_path / 'd') / 'VOCdevkit'))
    assert main([*SMALL, '--quiet']) == 0
    assert (tmp_path / 'data/VOC2007-C/manifest.json').is_file()


def test_missing_data_error_names_the_folder_and_the_prepare_tool(voc, capsys):
    shutil.rmtree(voc)
    text = error_of(capsys, SMALL)
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
        (['--subset', '²'], "subset '²' is neither a number nor a readable text file"),
        (['--subset', 'absent.txt'], 'neither a number nor a readable text file'),
        (['--split', 'val'], 'val.txt does not exist'),
        (['--year', '1999'], 'VOC1999 does not exist'),
        (['--layout', 'coco', '--source', 'data'], 'requires --annotations and --images'),
        (['--layout', 'folder'], 'requires --source'),
        (['--annotations', 'x.json'], 'require --layout coco'),
        (['--dask', 'tcp://x:1'], 'not both'),
        (['--out', 'data/VOCdevkit'], 'contains other files (VOC2007)'),
        (['--out', 'file'], 'file is a file where a folder should be'),
        (['--source', 'file'], 'does not exist'),
        (['--verify', '--out', 'data'], 'is not a finished benchmark'),
    ],
)
def test_invalid_input_is_reported_and_nothing_is_written(voc, tmp_path, capsys, options, message):
    (tmp_path / 'file').write_text('in the way')
    before = contents(tmp_path)
    assert message in error_of(capsys, [*SMALL, *options])
    assert contents(tmp_path) == before


def test_skipped_images_are_listed_and_the_exit_status_is_one(voc, capsys):
    path = voc / 'VOC2007/JPEGImages/000002.jpg'
    path.write_bytes(path.read_bytes()[:500])
    text = error_of(capsys, SMALL)
    remedy = 'repair it, or leave it out with --on-error skip'
    assert f'000002.jpg: the JPEG is truncated; {remedy}' in text
    assert main([*SMALL, '--on-error', 'skip']) == 1
    text = capsys.readouterr()
    assert '1 image skipped' in text.err
    assert '000002: the JPEG is truncated' in text.err
    assert '4 cells of 4 images' in text.out


def test_numbers_agree_with_their_nouns(voc, capsys):
    one = ['--corruptions', 'contrast', '--severities', '1', '--workers', '0', '--subset', '1']
    assert main(one) == 0
    text = capsys.readouterr()
    assert '1 image x 1 corruption x 1 severity = 1 file in' in text.out
    assert ': 1 cell of 1 image, ' in text.out and '1 image built in' in text.out
    (voc / 'VOC2007/JPEGImages/000003.jpg').unlink()
    assert '1 image of data/VOCdevkit/VOC2007 cannot be used' in error_of(capsys, SMALL)


def test_help_texts_are_sentences(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    text = ' '.join(capsys.readouterr().out.split())
    assert 'severities to build, from 1 to 5 (default: 1 2 3 4 5)' in text
    assert 'format of the images (default: jpg)' in text


def test_a_subset_larger_than_the_source_is_mentioned(voc, capsys):
    assert main([*SMALL, '--subset', '99', '--dry-run']) == 0
    assert 'the source has only 5 images, fewer than the subset of 99' in capsys.readouterr().out


def test_verify_finds_damage_and_a_second_build_repairs_it(voc, tmp_path, capsys):
    assert main([*SMALL, '--out', 'out', '--quiet']) == 0
    built = contents(tmp_path / 'out')
    assert main(['--verify', '--out', 'out', '--workers', '0']) == 0
    assert 'files match their checksums' in capsys.readouterr().out
    (tmp_path / 'out/contrast/1/VOC2007/JPEGImages/000003.jpg').unlink()
    (tmp_path / 'out/contrast/5/VOC2007/JPEGImages/000004.jpg').write_bytes(b'x')
    assert main(['--verify', '--out', 'out', '--workers', '0']) == 1
    text = capsys.readouterr().err
    assert 'missing: contrast/1/VOC2007/JPEGImages/000003.jpg' in text
    assert 'damaged: contrast/5/VOC2007/JPEGImages/000004.jpg' in text
    assert main([*SMALL, '--out', 'out']) == 0
    assert contents(tmp_path / 'out') == built


def test_building_again_with_other_options_is_rejected(voc, capsys):
    assert main([*SMALL, '--quiet']) == 0
    error = error_of(capsys, [*SMALL, '--quality', '90'])
    assert 'quality: 95 in the folder, 90 requested' in error
    assert main([*SMALL, '--quality', '90', '--overwrite', '--quiet']) == 0


def test_coco_and_folder_layouts(voc, tmp_path):
    make_coco(tmp_path / 'coco', 3)
    coco = ['--layout', 'coco', '--source', 'coco', '--annotations', 'annotations/val.json']
    assert main([*SMALL, *coco, '--images', 'val']) == 0
    assert (tmp_path / 'data/val-C/brightness/1/val/000000000000.jpg').is_file()
    assert main([*SMALL, '--layout', 'folder', '--source', 'coco', '--format', 'png']) == 0
    assert (tmp_path / 'data/coco-C/brightness/1/val/000000000000.png').is_file()


def test_imagenet_c_fixes_crops_and_storage(voc, tmp_path, capsys):
    images = tmp_path / 'images/a'
    shutil.copytree(voc / 'VOC2007/JPEGImages', images)
    source = ['--layout', 'imagenet-c', '--source', 'images', '--out', 'c', '--subset', '1']
    grid = ['--corruptions', 'elastic_transform', 'frost', '--severities', '2', '--workers', '0']
    assert 'quality 85, not 95; leave out --quality' in error_of(
        capsys, [*source, *grid, '--quality', '95']
    )
    assert 'crop 224, not 192' in error_of(capsys, [*source, *grid, '--crop', '192'])
    assert main([*source, *grid, '--quiet']) == 0
    manifest = read_manifest('c')
    assert (manifest.options['imagenet_c'], manifest.options['crop']) == (True, 224)
    (name,) = manifest.images
    clean = centre_crop(decode((tmp_path / 'images' / name).read_bytes()), 224)
    for corruption in ('elastic_transform', 'frost'):
        expected = corrupt_severities(
            clean, corruption=corruption, severities=[2], image_id=name, like_imagenet_c=True
        )
        data = (tmp_path / f'c/{corruption}/2/{name}').read_bytes()
        assert data == encode(expected[2], format='jpg', quality=85, subsampling='4:2:0')
    # Another layout of the same images is another benchmark.
    other = ['--layout', 'folder', '--quality', '85', '--crop', '224']
    assert 'imagenet_c: true in the folder' in error_of(capsys, [*source, *grid, *other])


def test_interrupted_build_exits_with_130_and_a_hint(voc, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr('adasap_det.robustness.benchmark.journal.Journal.add', interrupt)
    assert main(SMALL) == 130
    assert 'run the same command again to resume' in capsys.readouterr().err


@pytest.mark.slow
def test_tool_runs_from_the_checkout(voc, tmp_path):
    tool = ROOT / 'tools' / 'make_voc_c.py'
    if not tool.is_file():
        pytest.skip('no checkout')
    run = subprocess.run(
        [sys.executable, tool, *SMALL[:-2], '--workers', '1'], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / 'data/VOC2007-C/manifest.json').is_file()
