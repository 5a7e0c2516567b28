from __future__ import annotations

import errno
import os

import pytest
from PIL import Image

from adasap_det.robustness.benchmark import BenchmarkError, folder_source

from ...helpers.source_trees import image


def test_images_of_all_folders_in_order(tmp_path):
    for name in ('b/2.png', 'b/1.JPG', 'a/deep/3.jpeg', '.hidden/4.jpg'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(0)).save(tmp_path / name)
    (tmp_path / 'b/notes.txt').write_text('not an image')
    (tmp_path / 'b/.5.jpg').write_text('hidden')
    source = folder_source(tmp_path)
    assert [image.image_id for image in source.images] == ['a/deep/3.jpeg', 'b/1.JPG', 'b/2.png']
    assert [image.target for image in source.images] == ['a/deep/3.jpeg', 'b/1.JPG', 'b/2.png']


def test_no_images_raise(tmp_path):
    with pytest.raises(BenchmarkError, match='contains no images'):
        folder_source(tmp_path)
    with pytest.raises(BenchmarkError, match=r'does not exist.*--source'):
        folder_source(tmp_path / 'absent')


def test_a_folder_that_cannot_be_read_raises(tmp_path, monkeypatch):
    for name in ('a/1.png', 'b/2.png'):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(image(0)).save(tmp_path / name)
    scandir = os.scandir

    def deny(folder):
        if str(folder).endswith('/b'):
            raise PermissionError(errno.EACCES, 'Permission denied', folder)
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', deny)
    with pytest.raises(BenchmarkError, match=r'/b cannot be read \(Permission denied\)'):
        folder_source(tmp_path)


def test_a_link_to_a_folder_above_raises(tmp_path):
    (tmp_path / 'a/b').mkdir(parents=True)
    Image.fromarray(image(0)).save(tmp_path / 'a/1.png')
    os.symlink(tmp_path / 'a', tmp_path / 'a/b/again')
    with pytest.raises(BenchmarkError, match=r'a/b/again links to a folder that contains it'):
        folder_source(tmp_path)
    (tmp_path / 'a/b/again').unlink()
    (tmp_path / 'd').mkdir()
    os.symlink(tmp_path / 'd', tmp_path / 'a/b/other')
    os.symlink(tmp_path / 'a', tmp_path / 'd/back')
    with pytest.raises(BenchmarkError, match=r'links to a folder that contains it'):
        folder_source(tmp_path)
    # Other links are followed.
    (tmp_path / 'd/back').unlink()
    os.symlink(tmp_path / 'a', tmp_path / 'c')
    assert [one.image_id for one in folder_source(tmp_path).images] == ['a/1.png', 'c/1.png']


def test_a_name_that_is_not_utf_8_raises(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b'\xff.png')
    with open(path, 'wb') as file:
        Image.fromarray(image(0)).save(file, 'PNG')
    with pytest.raises(BenchmarkError, match=r"'\\udcff.png' is not UTF-8; rename it"):
        folder_source(tmp_path)
