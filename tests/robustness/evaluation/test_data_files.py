"""The digest depends on the content of lists and annotations, not on their paths."""

import shutil

import pytest

from adasap_det.robustness.evaluation.data_files import data_digest

from ...helpers.source_trees import make_coco, make_voc


@pytest.fixture
def voc(tmp_path):
    make_voc(tmp_path / 'a', 3)
    return tmp_path / 'a'


def voc_config(root):
    return dict(
        type='VOCDataset', data_root=f'{root}/', ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
    )  # fmt: skip


def test_voc_digest_covers_the_list_and_its_annotations(voc, tmp_path):
    before = data_digest(voc_config(voc))
    shutil.copytree(voc, tmp_path / 'copy')
    assert data_digest(voc_config(tmp_path / 'copy')) == before
    wrapped = dict(type='RepeatDataset', times=2, dataset=voc_config(voc))
    assert data_digest(wrapped) == before
    annotation = voc / 'VOC2007/Annotations/000002.xml'
    text = annotation.read_text()
    annotation.write_text(text.replace('<object>', '<object> '))
    assert data_digest(voc_config(voc)) != before
    annotation.write_text(text)
    (voc / 'VOC2007/Annotations/unlisted.xml').write_text('')
    assert data_digest(voc_config(voc)) == before
    (voc / 'VOC2007/ImageSets/Main/test.txt').write_text('000001\n000003\n')
    assert data_digest(voc_config(voc)) != before


def test_coco_digest_covers_the_annotation_file(tmp_path):
    root = make_coco(tmp_path / 'coco', 2)
    config = dict(type='CocoDataset', data_root=str(root), ann_file='annotations/val.json')
    before = data_digest(config)
    path = root / 'annotations/val.json'
    path.write_text(path.read_text().replace('10', '11'))
    assert data_digest(config) != before


def test_image_folder_digest_covers_the_file_names(tmp_path):
    for name in ('val/b/1.png', 'val/a/2.png', 'train/a/3.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    config = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix='val')
    before = data_digest(config)
    (tmp_path / 'train/a/4.png').write_bytes(b'')
    assert data_digest(config) == before
    (tmp_path / 'val/a/2.png').rename(tmp_path / 'val/b/2.png')
    assert data_digest(config) != before


def test_flat_imagenet_digest_covers_the_labels(tmp_path):
    for name in ('val', 'meta'):
        (tmp_path / name).mkdir()
    (tmp_path / 'val/a.JPEG').write_bytes(b'')
    config = dict(type='ImageNet', data_root=str(tmp_path), split='val')
    (tmp_path / 'meta/val.txt').write_text('a.JPEG 0\n')
    before = data_digest(config)
    (tmp_path / 'meta/val.txt').write_text('a.JPEG 1\n')
    assert data_digest(config) != before


def test_remote_files_are_skipped():
    config = dict(type='CocoDataset', data_root='s3://b/', ann_file='a.json')
    assert data_digest(config) == data_digest({**config, 'ann_file': 'b.json'})
