from __future__ import annotations

import json

import pytest

from adasap_det.robustness.benchmark import BenchmarkError, coco_source
from adasap_det.robustness.benchmark.coco_source import subset_annotations

from ...helpers.source_trees import make_coco


def read(root):
    return coco_source(root, annotations='annotations/val.json', images='val')


def change(root, **entries):
    path = root / 'annotations/val.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_images_are_in_the_order_of_the_file(tmp_path):
    source = read(make_coco(tmp_path / 'coco', 3))
    assert [image.image_id for image in source.images] == [f'{i:012d}.jpg' for i in range(3)]
    assert source.images[1].target == 'val/000000000001.jpg'
    assert source.annotation_file == 'annotations/val.json'


def test_an_annotation_file_elsewhere_is_stored_below_annotations(tmp_path):
    root = make_coco(tmp_path / 'coco', 1)
    moved = (root / 'annotations/val.json').rename(tmp_path / 'mine.json')
    assert coco_source(root, annotations=moved, images='val').annotation_file == (
        'annotations/mine.json'
    )


def test_linked_annotations_have_the_name_of_the_link(tmp_path):
    root = make_coco(tmp_path / 'coco', 1)
    path = root / 'annotations/val.json'
    path.rename(root / 'annotations/instances_v2.json')
    path.symlink_to('instances_v2.json')
    assert read(root).annotation_file == 'annotations/val.json'


def test_file_names_relative_to_the_root(tmp_path):
    root = make_coco(tmp_path / 'coco', 2)
    path = root / 'annotations/val.json'
    path.write_text(path.read_text().replace('"file_name": "', '"file_name": "val/'))
    source = coco_source(root, annotations='annotations/val.json', images='.')
    assert not source.problems
    assert [image.image_id for image in source.images] == [f'val/{i:012d}.jpg' for i in range(2)]
    assert source.images[0].target == 'val/000000000000.jpg'
    assert source.images[0].path == root / 'val/000000000000.jpg'


def test_unchanged_annotations_keep_their_bytes(tmp_path):
    source = read(make_coco(tmp_path / 'coco', 3))
    kept = [image.image_id for image in source.images]
    raw = (tmp_path / 'coco/annotations/val.json').read_bytes()
    assert subset_annotations(source, kept, format='jpg') == raw


def test_a_subset_keeps_only_its_boxes(tmp_path):
    source = read(make_coco(tmp_path / 'coco', 3))
    data = json.loads(subset_annotations(source, ['000000000002.jpg'], format='png'))
    assert [entry['file_name'] for entry in data['images']] == ['000000000002.png']
    assert [box['image_id'] for box in data['annotations']] == [2]
    assert data['categories'] == [{'id': 1, 'name': 'person'}]


def test_problems_are_listed_by_image(tmp_path):
    root = make_coco(tmp_path / 'coco', 5)
    images = json.loads((root / 'annotations/val.json').read_text())['images']
    images[3]['id'] = 4
    change(root, images=[*images, images[1]])
    (root / 'val/000000000002.jpg').unlink()
    source = read(root)
    assert [image.image_id for image in source.images] == ['000000000000.jpg']
    assert source.problems['000000000001.jpg'] == 'it is listed more than once in val.json'
    assert source.problems['000000000002.jpg'] == 'val/000000000002.jpg does not exist'
    assert {'000000000003.jpg', '000000000004.jpg'} <= source.problems.keys()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"images": [', 'cannot be read'),
        ('[]', 'are not in the COCO format'),
        ('{"images": [{"id": 1}], "annotations": []}', 'are not in the COCO format'),
        ('{"images": [], "annotations": []}', 'list no images'),
        ('[' * 100_000, 'cannot be read: it is nested too deeply'),
        ('{"images": [{"id": [1], "file_name": "a.jpg"}], "annotations": []}', 'not in the COCO'),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": [1]}]}',
            'not in the COCO format',
        ),
        (
            '{"images": [{"id": 1, "file_name": "\\udc80.jpg"}], "annotations": []}',
            r"'\\udc80.jpg' is not UTF-8",
        ),
        (
            '{"images": [{"id": 1, "file_name": "../a.jpg"}], "annotations": []}',
            'not a path inside',
        ),
    ],
)
def test_invalid_annotations_raise(tmp_path, text, message):
    root = make_coco(tmp_path / 'coco', 1)
    (root / 'annotations/val.json').write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        read(root)


def test_missing_files_and_folders_are_named(tmp_path):
    root = make_coco(tmp_path / 'coco', 1)
    with pytest.raises(BenchmarkError, match=r"'absent\.json' do not exist.*--annotations"):
        coco_source(root, annotations='absent.json', images='val')
    with pytest.raises(BenchmarkError, match=r'train does not exist.*--images'):
        coco_source(root, annotations='annotations/val.json', images='train')
