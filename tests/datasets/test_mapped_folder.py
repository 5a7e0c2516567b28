import json

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

CLASSES = tuple(f'c{i}' for i in range(12))


@pytest.fixture
def root(tmp_path):
    for folder in ('2', '10', '0'):
        (tmp_path / folder).mkdir()
        for name in ('b.png', 'a.png'):
            cv2.imwrite(str(tmp_path / folder / name), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / '2' / 'notes.txt').write_text('no image')
    return tmp_path


def build(root, **options):
    metainfo = dict(classes=CLASSES)
    return DATASETS.build(
        dict(type='MappedFolder', data_root=str(root), metainfo=metainfo, **options)
    )


def samples(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [
        (info['img_path'].rpartition('/')[0][-2:].strip('/'), info['gt_label']) for info in infos
    ]


def test_folders_named_by_numbers_are_those_classes(root):
    """In alphabetical order '10' would be class 1."""
    assert samples(build(root)) == [
        ('0', 0), ('0', 0), ('2', 2), ('2', 2), ('10', 10), ('10', 10),
    ]  # fmt: skip


def test_folders_outside_the_mapping_are_ignored(root):
    (root.parent / 'mapping.json').write_text(json.dumps({'10': [3, 7], '0': 5}))
    for mapping in ({'10': [3, 7], '0': 5}, str(root.parent / 'mapping.json')):
        assert samples(build(root, mapping=mapping)) == [
            ('10', [3, 7]), ('10', [3, 7]), ('0', 5), ('0', 5),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ('mapping', 'message'),
    [
        ({'0': 12}, "folder '0' of .* is mapped to 12, which is none of the 12 classes"),
        ({'cat': 1}, "names 'cat', which is no folder"),
        ('nowhere.json', "'nowhere.json' is no readable JSON file"),
    ],
)
def test_invalid_mappings(root, mapping, message):
    with pytest.raises(ValueError, match=message):
        build(root, mapping=mapping)


def test_invalid_folders(root, tmp_path_factory):
    with pytest.raises(ValueError, match='is no folder'):
        build(root / 'nowhere')
    (root / 'cat').mkdir()
    with pytest.raises(ValueError, match="has 'cat'"):
        build(root)
    empty = tmp_path_factory.mktemp('empty')
    (empty / '3').mkdir()
    with pytest.raises(ValueError, match='holds no image'):
        build(empty)
