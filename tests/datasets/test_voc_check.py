from pathlib import Path

import pytest
from PIL import Image

from adasap_det.datasets import make_shapes_voc
from adasap_det.datasets.voc_check import check_voc_layout, voc_splits

from ..helpers.voc_folder import annotation, make_voc

LIST = 'ImageSets/Main/trainval.txt'


@pytest.fixture
def voc(tmp_path) -> Path:
    return make_voc(tmp_path / 'VOC2007', ['a', 'b', 'c'])


def truncate(path: Path, fraction: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])


def test_complete_folder_passes_and_is_counted(voc):
    report = check_voc_layout(voc, list_file=LIST, classes=['cat', 'dog'])
    assert (report.images, report.boxes, dict(report.unknown_classes)) == (3, 3, {})


def test_shapes_pass(tmp_path):
    make_shapes_voc(tmp_path, num_train=3, num_val=2, num_test=4, image_size=64)
    report = check_voc_layout(tmp_path / 'VOC2007', list_file='ImageSets/Main/test.txt')
    assert report.images == 4
    assert 4 <= report.boxes <= 12


def test_unknown_classes_are_counted_and_accepted(voc):
    (voc / 'Annotations/b.xml').write_text(annotation(name='unicorn', box=(0, 0, 0, 0)))
    report = check_voc_layout(voc, list_file=LIST, classes=['cat'])
    assert report.boxes == 2
    assert dict(report.unknown_classes) == {'unicorn': 1}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'the file is no valid XML'),
        ('<annotation><object>', 'the file is no valid XML'),
        (annotation(size=(61, 50)), 'its size is 61 x 50 pixels, the image has 60 x 50'),
        (annotation(box=(30, 6, 5, 40)), r'box \(30, 6, 5, 40\) of a cat is empty'),
        (annotation(box=(5, 6, 5, 40)), r'box \(5, 6, 5, 40\) of a cat is empty'),
        (
            annotation(box=(5, 6, 61, 40)),
            r'\(5, 6, 61, 40\) of a cat is not inside the image of 60 x 50',
        ),
        (annotation(box=(-1, 6, 30, 40)), 'is not inside the image'),
        (annotation(box=(5, 6, 30, 'x')), "the ymax of a bndbox is 'x', not a number"),
        (annotation(name=''), 'an? object has no name'),
        (annotation().replace('bndbox', 'box'), 'a cat has no bndbox'),
        (annotation().replace('xmax>', 'max>'), 'a bndbox has no xmax'),
    ],
)
def test_error_names_the_broken_annotation_and_its_problem(voc, content, message):
    (voc / 'Annotations/b.xml').write_text(content)
    with pytest.raises(ValueError, match=rf'1 broken .* among 3 images:\n  .*b\.xml: .*{message}'):
        check_voc_layout(voc, list_file=LIST)


@pytest.mark.parametrize(
    'content',
    [
        annotation(size=None),
        annotation(box=(0, 0, 60, 50)),
        annotation(box=('5.6', '6.2', '30.9', '40.1')),
        annotation(box=(5, 6, 5, 40), difficult=1),
        '<annotation/>',
    ],
)
def test_valid_annotations_pass(voc, content):
    (voc / 'Annotations/b.xml').write_text(content)
    assert check_voc_layout(voc, list_file=LIST).images == 3


def test_error_names_missing_files(voc):
    (voc / 'JPEGImages/a.jpg').unlink()
    (voc / 'Annotations/c.xml').unlink()
    with pytest.raises(ValueError, match='2 broken or missing') as error:
        check_voc_layout(voc, list_file=LIST)
    assert f'{voc}/JPEGImages/a.jpg: the image does not exist' in str(error.value)
    assert f'{voc}/Annotations/c.xml: the annotation does not exist' in str(error.value)
    assert str(voc / LIST) in str(error.value)


@pytest.mark.parametrize(
    ('data', 'message'), [(b'', 'the file is empty'), (b'hello' * 50, 'the file is no image')]
)
def test_error_names_files_that_are_no_images(voc, data, message):
    (voc / 'JPEGImages/b.jpg').write_bytes(data)
    with pytest.raises(ValueError, match=rf'b\.jpg: {message}'):
        check_voc_layout(voc, list_file=LIST, decode=False)


def test_truncated_jpeg_is_found_without_decoding_all_images(voc, monkeypatch):
    monkeypatch.setattr('adasap_det.datasets.voc_check._DECODE_UP_TO', 0)
    truncate(voc / 'JPEGImages/b.jpg', 0.6)
    with pytest.raises(ValueError, match=r'b\.jpg: the image cannot be read \(.*truncated'):
        check_voc_layout(voc, list_file=LIST)
    # Without decoding, only the header is read, which is intact.
    assert check_voc_layout(voc, list_file=LIST, decode=False).images == 3


def test_damage_after_an_intact_header_is_found_by_decoding(voc, monkeypatch):
    path = voc / 'JPEGImages/b.jpg'
    with Image.open(path) as image:
        image.save(path, format='PNG')
    truncate(path, 0.6)
    with pytest.raises(ValueError, match=r'b\.jpg: the image cannot be read'):
        check_voc_layout(voc, list_file=LIST)
    monkeypatch.setattr('adasap_det.datasets.voc_check._DECODE_UP_TO', 0)
    assert check_voc_layout(voc, list_file=LIST).images == 3
    with pytest.raises(ValueError, match=r'b\.jpg: the image cannot be read'):
        check_voc_layout(voc, list_file=LIST, decode=True)


def test_padding_after_the_end_of_a_jpeg_is_accepted(voc):
    path = voc / 'JPEGImages/b.jpg'
    path.write_bytes(path.read_bytes() + bytes(500))
    assert check_voc_layout(voc, list_file=LIST, decode=True).images == 3


def test_error_shows_the_first_few_and_counts_the_rest(tmp_path):
    voc = make_voc(tmp_path, [f'{i:02d}' for i in range(12)])
    for path in (voc / 'JPEGImages').iterdir():
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='12 broken') as error:
        check_voc_layout(voc, list_file=LIST, max_shown=3)
    lines = str(error.value).splitlines()
    assert [line.split('/')[-1] for line in lines[1:4]] == [
        f'0{i}.jpg: the file is empty' for i in range(3)
    ]
    assert lines[4].strip() == 'and 9 more'
    assert lines[5].startswith('Restore the files')


def test_missing_and_empty_lists_are_errors(voc):
    with pytest.raises(ValueError, match=r'test\.txt does not exist'):
        check_voc_layout(voc, list_file='ImageSets/Main/test.txt')
    (voc / LIST).write_text('\n')
    with pytest.raises(ValueError, match=r'trainval\.txt is empty'):
        check_voc_layout(voc, list_file=LIST)
    with pytest.raises(ValueError, match=r'list_file is missing for the folder .*; give it'):
        check_voc_layout(voc)


def dataset_cfg(root: Path, **changes: object) -> dict:
    return (
        dict(
            type='VOCDataset',
            data_root=str(root),
            ann_file=f'VOC2007/{LIST}',
            data_prefix=dict(sub_data_root='VOC2007/'),
            metainfo=dict(classes=('cat',)),
        )
        | changes
    )


def test_configs_are_read_through_wrappers(voc):
    plain = dataset_cfg(voc.parent)
    (split,) = voc_splits(plain)
    assert split.root == voc
    assert split.list_file == voc / LIST
    assert split.classes == ('cat',)
    wrapped = dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(
            type='ConcatDataset', datasets=[plain, dataset_cfg(voc.parent, type='mmdet.XMLDataset')]
        ),
    )
    assert list(voc_splits(wrapped)) == [split, split]
    assert check_voc_layout(wrapped).images == 6


def test_voc_classes_are_the_default_of_voc_dataset_only(voc):
    (split,) = voc_splits(dataset_cfg(voc.parent, metainfo=None))
    assert split.classes is not None
    assert split.classes[:2] == ('aeroplane', 'bicycle')
    (split,) = voc_splits(dataset_cfg(voc.parent, metainfo=None, type='XMLDataset'))
    assert split.classes is None


def test_classes_from_a_file(voc, tmp_path):
    """As MMEngine reads them: one per line."""
    (tmp_path / 'classes.txt').write_text('cat\ntraffic light\n')
    cfg = dataset_cfg(voc.parent, metainfo=dict(classes=str(tmp_path / 'classes.txt')))
    (split,) = voc_splits(cfg)
    assert split.classes == ('cat', 'traffic light')
    report = check_voc_layout(cfg)
    assert (report.boxes, dict(report.unknown_classes)) == (3, {})


def test_classes_that_are_neither_names_nor_a_file(voc):
    with pytest.raises(ValueError, match=r"metainfo\.classes of VOCDataset is 'cat', .*\('cat',\)"):
        check_voc_layout(dataset_cfg(voc.parent, metainfo=dict(classes='cat')))


def test_other_data_sets_are_skipped():
    coco = dict(type='CocoDataset', data_root='nowhere', ann_file='x.json')
    assert list(voc_splits(dict(type='RepeatDataset', dataset=coco))) == []
    assert check_voc_layout(coco).images == 0


def test_config_without_a_list_is_an_error(voc):
    cfg = dataset_cfg(voc.parent)
    del cfg['ann_file']
    with pytest.raises(ValueError, match='VOCDataset has no ann_file'):
        check_voc_layout(cfg)
