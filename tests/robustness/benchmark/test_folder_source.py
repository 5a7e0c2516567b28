from __future__ import annotations

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
