import hashlib
import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import VOCDataset, XMLDataset
from mmdet.evaluation import VOCMetric
from mmengine.structures import InstanceData

from adasap_det.datasets import SHAPE_CLASSES, make_shapes_voc
from adasap_det.datasets.shape_scene import draw_scene

SMALL = dict(num_train=6, num_val=3, num_test=4, image_size=64)


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('shapes')
    assert make_shapes_voc(root, **SMALL) == root / 'VOC2007'
    return root


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def boxes_of(xml: Path) -> list[tuple[str, tuple[int, ...]]]:
    return [
        (
            entry.findtext('name'),
            tuple(int(entry.findtext(f'bndbox/{k}')) for k in ('xmin', 'ymin', 'xmax', 'ymax')),
        )
        for entry in ElementTree.parse(xml).getroot().findall('object')
    ]


def test_layout_and_disjoint_splits(root):
    main = root / 'VOC2007' / 'ImageSets' / 'Main'
    lists = {path.stem: path.read_text().split() for path in main.glob('*.txt')}
    assert {name: len(ids) for name, ids in lists.items()} == dict(
        train=6, val=3, trainval=9, test=4
    )
    assert lists['trainval'] == lists['train'] + lists['val']
    ids = lists['trainval'] + lists['test']
    assert len(set(ids)) == 13
    images = [(root / 'VOC2007/JPEGImages' / f'{i}.jpg').read_bytes() for i in ids]
    assert len(set(images)) == 13


def test_files_describe_the_drawn_scenes(root):
    for number, split in enumerate(['train', 'val', 'test']):
        for i in range(3):
            scene = draw_scene(np.random.default_rng([0, 64, number, i]), size=64)
            stem = f'{split}_{i:06d}'
            image = cv2.imread(str(root / 'VOC2007/JPEGImages' / f'{stem}.jpg'))[..., ::-1]
            # JPEG changes noise and colours; two different scenes differ by 60 or more.
            assert np.abs(image.astype(int) - scene.image).mean() < 12
            expected = []
            for shape in scene.objects:
                ys, xs = np.nonzero(shape.mask)
                # VOC coordinates start at 1 and include both corners.
                box = (xs.min() + 1, ys.min() + 1, xs.max() + 1, ys.max() + 1)
                expected.append((shape.name, box))
            assert boxes_of(root / 'VOC2007/Annotations' / f'{stem}.xml') == expected


def test_bytes_are_determined_by_the_seed(root, tmp_path):
    make_shapes_voc(tmp_path / 'same', **SMALL)
    assert digests(tmp_path / 'same') == digests(root)
    make_shapes_voc(tmp_path / 'other', **SMALL, seed=1)
    images = digests(root / 'VOC2007' / 'JPEGImages')
    others = digests(tmp_path / 'other' / 'VOC2007' / 'JPEGImages')
    assert images.keys() == others.keys()
    assert all(images[name] != others[name] for name in images)


def test_larger_set_begins_with_the_smaller(root, tmp_path):
    make_shapes_voc(tmp_path, **{**SMALL, 'num_train': 8})
    small = digests(root / 'VOC2007' / 'JPEGImages')
    large = digests(tmp_path / 'VOC2007' / 'JPEGImages')
    assert len(large) == len(small) + 2
    assert small.items() <= large.items()


def test_second_call_does_nothing(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    make_shapes_voc(root, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == before


def test_error_for_other_options_names_folder_and_remedy(root):
    with pytest.raises(ValueError, match=r'VOC2007 was made with num_train=6 instead of 7; give'):
        make_shapes_voc(root, **{**SMALL, 'num_train': 7})


def test_foreign_folder_is_not_changed(tmp_path):
    (tmp_path / 'VOC2007').mkdir()
    (tmp_path / 'VOC2007' / 'mine.txt').write_text('keep')
    with pytest.raises(ValueError, match=r'VOC2007 exists and is no finished shapes data set'):
        make_shapes_voc(tmp_path, **SMALL)
    assert (tmp_path / 'VOC2007' / 'mine.txt').read_text() == 'keep'


def test_missing_files_are_an_error(tmp_path):
    folder = make_shapes_voc(tmp_path, **SMALL)
    (folder / 'JPEGImages' / 'val_000001.jpg').unlink()
    with pytest.raises(ValueError, match=r'JPEGImages holds 12 files of 13; .*delete the folder'):
        make_shapes_voc(tmp_path, **SMALL)


def test_interrupted_call_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def interrupted(rng, *, size):
        calls.append(size)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw_scene(rng, size=size)

    monkeypatch.setattr('adasap_det.datasets.shapes.draw_scene', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_shapes_voc(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []
    make_shapes_voc(tmp_path, **SMALL)
    assert json.loads((tmp_path / 'VOC2007' / 'shapes.json').read_text())['num_train'] == 6


@pytest.mark.parametrize(
    ('option', 'value'), [('num_train', 0), ('num_test', -1), ('seed', -1), ('image_size', 31)]
)
def test_options_out_of_range(tmp_path, option, value):
    with pytest.raises(ValueError, match=f'{option} is {value}'):
        make_shapes_voc(tmp_path, **{**SMALL, option: value})
    assert not (tmp_path / 'VOC2007').exists()


@pytest.mark.parametrize('kind', [VOCDataset, XMLDataset])
def test_mmdet_reads_and_evaluates_it(root, kind):
    dataset = kind(
        data_root=str(root),
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=SHAPE_CLASSES),
        test_mode=True,
        pipeline=[],
    )
    assert len(dataset) == 4
    metric = VOCMetric(metric='mAP', eval_mode='11points')
    metric.dataset_meta = dataset.metainfo
    infos = [dataset.get_data_info(i) for i in range(4)]
    for info in infos:
        xml = boxes_of(root / 'VOC2007/Annotations' / f'{Path(info["img_path"]).stem}.xml')
        found = [(x['bbox_label'], tuple(b + 1 for b in x['bbox'])) for x in info['instances']]
        assert found == [(SHAPE_CLASSES.index(name), box) for name, box in xml]
    # Everything is detected exactly, except one class that is missed. Absent classes are not
    # counted.
    present = {x['bbox_label'] for info in infos for x in info['instances']}
    assert len(present) > 2
    for info in infos:
        metric.process({}, [sample_that_finds(info, present - {min(present)})])
    assert metric.evaluate(4)['pascal_voc/mAP'] == pytest.approx(1 - 1 / len(present))


def sample_that_finds(info: dict, labels_found: set[int]) -> dict:
    boxes = torch.tensor([x['bbox'] for x in info['instances']], dtype=torch.float32)
    labels = torch.tensor([x['bbox_label'] for x in info['instances']])
    found = torch.tensor([label in labels_found for label in labels.tolist()])
    nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    return dict(
        gt_instances=InstanceData(bboxes=boxes, labels=labels),
        ignored_instances=nothing,
        pred_instances=InstanceData(
            bboxes=boxes[found], labels=labels[found], scores=torch.ones(int(found.sum()))
        ),
    )
