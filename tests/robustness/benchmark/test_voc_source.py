from __future__ import annotations

import re

import pytest

from adasap_det.robustness.benchmark import BenchmarkError, voc_source

from ...helpers.source_trees import make_voc
from ...helpers.voc_folder import annotation


def test_root_is_the_devkit_or_the_folder_of_a_year(tmp_path):
    root = make_voc(tmp_path, 3, split='val', year='2012')
    source = voc_source(root, year='2012', split='val')
    assert source == voc_source(root / 'VOC2012', split='val')
    assert source.description == {'layout': 'voc', 'folder': 'VOC2012', 'split': 'val'}
    first = source.images[0]
    assert first.image_id == '000001'
    assert first.path == root / 'VOC2012/JPEGImages/000001.jpg'
    assert first.target == 'VOC2012/JPEGImages/000001.jpg'
    assert first.annotation == root / 'VOC2012/Annotations/000001.xml'
    assert not source.problems
    first.path.rename(first.path.with_suffix('.JPEG'))
    other = voc_source(root, year='2012', split='val').images[0]
    assert other.path.suffix == '.JPEG' and other.target == first.target


def test_a_linked_folder_has_the_name_of_the_link(tmp_path, monkeypatch):
    root = make_voc(tmp_path / 'copy', 1)
    (root / 'VOC2007').rename(tmp_path / 'voc07-copy')
    (root / 'VOC2007').symlink_to(tmp_path / 'voc07-copy')
    source = voc_source(root)
    assert source.description['folder'] == 'VOC2007'
    assert source.images[0].target == 'VOC2007/JPEGImages/000001.jpg'
    monkeypatch.chdir(tmp_path / 'voc07-copy')
    assert voc_source('.').description['folder'] == 'voc07-copy'


def test_missing_data_raise_with_folder_and_remedy(tmp_path):
    wanted = re.escape(str(tmp_path / 'VOCdevkit' / 'VOC2007'))
    with pytest.raises(BenchmarkError, match=rf'{wanted} does not exist.*prepare_voc\.py'):
        voc_source(tmp_path / 'VOCdevkit')


def test_a_file_where_a_folder_should_be_raises(tmp_path):
    make_voc(tmp_path, 1)
    (tmp_path / 'VOC2007/Annotations/000001.xml').unlink()
    (tmp_path / 'VOC2007/Annotations').rmdir()
    (tmp_path / 'VOC2007/Annotations').write_text('')
    with pytest.raises(BenchmarkError, match='Annotations is a file where a folder should be'):
        voc_source(tmp_path)


def test_an_unknown_split_raises_with_the_existing_ones(tmp_path):
    make_voc(tmp_path, 1)
    with pytest.raises(BenchmarkError, match=r'val\.txt does not exist; lists.*: test'):
        voc_source(tmp_path, split='val')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('\n \n', 'is empty'),
        ('../../secret\n', 'not a path inside'),
        ('/etc/passwd\n', 'not a path inside'),
        ('000001 -1\n000002  1\n', 'the list of one class'),
    ],
)
def test_invalid_lists_raise(tmp_path, text, message):
    make_voc(tmp_path, 2)
    (tmp_path / 'VOC2007/ImageSets/Main/test.txt').write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        voc_source(tmp_path)


def test_problems_are_listed_by_image(tmp_path):
    folder = make_voc(tmp_path, 8) / 'VOC2007'
    with (folder / 'ImageSets/Main/test.txt').open('a') as file:
        file.write('000002\n')
    (folder / 'JPEGImages/000003.jpg').unlink()
    (folder / 'Annotations/000004.xml').unlink()
    (folder / 'Annotations/000005.xml').write_text('<annotation><object>')
    (folder / 'Annotations/000006.xml').write_text(
        '<annotation><object><name>cat</name></object></annotation>'
    )
    source = voc_source(tmp_path)
    assert [image.image_id for image in source.images] == ['000001', '000007', '000008']
    assert source.problems.keys() == {'000002', '000003', '000004', '000005', '000006'}
    assert source.problems['000002'] == 'it is listed more than once in test.txt'
    assert source.problems['000003'] == 'JPEGImages/000003.jpg does not exist'
    assert source.problems['000004'] == 'Annotations/000004.xml does not exist'
    assert source.problems['000005'].startswith('Annotations/000005.xml cannot be read: no element')
    assert 'has no name or no valid box' in source.problems['000006']


@pytest.mark.parametrize(
    ('xml', 'message'),
    [
        ('<html/>', "its root is 'html', not 'annotation'"),
        (annotation(box=('nan', 6, 30, 40)), r'box \(nan, 6, 30, 40\) of an object is not finite'),
        (annotation(box=(5, 6, 30, 'inf')), 'is not finite'),
        (annotation(box=(30, 6, 5, 40)), 'has its corners swapped'),
        (annotation(box=(5, 40, 30, 6)), 'has its corners swapped'),
        (annotation(box=(61, 6, 80, 40)), 'is outside the image'),
        (annotation(box=(-9, -9, -1, 40)), 'is outside the image'),
    ],
)
def test_invalid_annotations_are_problems(tmp_path, xml, message):
    path = make_voc(tmp_path, 1) / 'VOC2007/Annotations/000001.xml'
    path.write_text(xml)
    assert re.search(message, voc_source(tmp_path).problems['000001'])


@pytest.mark.parametrize(
    'xml',
    [
        '<annotation/>',
        annotation(box=(1, 1, 60, 50)),
        annotation(box=(60, 50, 60, 50)),
        annotation(box=(-1, 0, 60.5, 51)),
        annotation(size=None, box=(61, 6, 80, 40)),
        annotation(size=(0, 0)),
    ],
)
def test_unusual_annotations_are_accepted(tmp_path, xml):
    path = make_voc(tmp_path, 1) / 'VOC2007/Annotations/000001.xml'
    path.write_text(xml)
    assert not voc_source(tmp_path).problems


def test_a_byte_order_mark_in_the_list_is_ignored(tmp_path):
    path = make_voc(tmp_path, 1) / 'VOC2007/ImageSets/Main/test.txt'
    path.write_text('000001\n', 'utf-8-sig')
    assert [image.image_id for image in voc_source(tmp_path).images] == ['000001']
