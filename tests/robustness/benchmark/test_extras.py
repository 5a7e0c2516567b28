"""Each cell is a data set that common loaders can read, with links or copies."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from mmdet.datasets import CocoDataset, VOCDataset
from torchvision.datasets import CocoDetection, ImageFolder, VOCDetection

from adasap_det.robustness.benchmark import (
    BenchmarkError,
    build_benchmark,
    cell_root,
    coco_source,
    folder_source,
    make_options,
    read_manifest,
    verify_benchmark,
    voc_source,
)
from adasap_det.robustness.benchmark import run as run_module
from adasap_det.robustness.corruptions import corrupt

from ...helpers.source_trees import contents, make_coco, make_voc
from ...helpers.voc_folder import BOX

OPTIONS = make_options(corruptions=['contrast', 'shot_noise'], severities=[2, 4], format='png')
JPEG = make_options(corruptions=['contrast', 'shot_noise'], severities=[2, 4])
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type=None),
]
IDS = ['000001', '000002', '000003']


def build(source, out, *, options=JPEG, **more):
    arguments = dict(options=options, workers=0, quiet=True, say=lambda _: None)
    build_benchmark(source, out, **arguments, **more)
    return out


def voc_dataset(cell):
    return VOCDataset(
        data_root=f'{cell}/',
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        pipeline=PIPELINE,
        test_mode=True,
    )


@pytest.fixture(params=['links', 'copies', 'copies where links do not work'])
def voc_c(request, tmp_path, monkeypatch):
    source = voc_source(make_voc(tmp_path / 'voc', 3))
    if request.param.startswith('copies where'):
        monkeypatch.setattr(run_module, 'supports_symlinks', lambda out: False)
    out = build(source, tmp_path / 'out', copy_annotations=request.param == 'copies')
    links = [path for path, data in contents(out).items() if isinstance(data, str) and '..' in data]
    assert bool(links) == (request.param == 'links')
    assert all(not os.path.isabs(os.readlink(out / path)) for path in links)
    assert verify_benchmark(out, workers=0, quiet=True).good
    # The benchmark can be moved.
    shutil.rmtree(tmp_path / 'voc')
    return out.rename(tmp_path / 'moved')


def test_mmdet_reads_every_cell_of_voc(voc_c):
    for name, level in JPEG.cells:
        dataset = voc_dataset(cell_root(voc_c, name, level))
        assert [dataset.get_data_info(i)['img_id'] for i in range(3)] == IDS
        sample = dataset[1]
        assert sample['img'].shape == (50, 60, 3)
        x0, y0, x1, y1 = BOX  # VOC counts from 1
        expected = [[x0 - 1, y0 - 1, x1 - 1, y1 - 1]]
        np.testing.assert_array_equal(sample['gt_bboxes'], expected)


def test_png_loaded_by_mmdet_equals_on_the_fly_corruption(tmp_path):
    root = make_voc(tmp_path / 'voc', 3)
    out = build(voc_source(root), tmp_path / 'out', options=OPTIONS)
    clean = voc_dataset(root)[2]
    built = voc_dataset(cell_root(out, 'shot_noise', 4))[2]
    expected = corrupt(
        clean['img'][..., ::-1], corruption='shot_noise', severity=4, image_id=IDS[2]
    )
    np.testing.assert_array_equal(built['img'], expected[..., ::-1])


def test_torchvision_reads_voc(tmp_path):
    out = build(voc_source(make_voc(tmp_path / 'voc', 3)), tmp_path / 'out')
    dataset = VOCDetection(
        str(cell_root(out, 'contrast', 2)), year='2007', image_set='test', download=False
    )
    assert len(dataset) == 3
    image, target = dataset[0]
    assert image.size == (60, 50)
    assert target['annotation']['object'][0]['name'] == 'cat'


@pytest.mark.parametrize('options', [JPEG, OPTIONS], ids=['jpg', 'png'])
def test_mmdet_and_torchvision_read_coco(tmp_path, options):
    root = make_coco(tmp_path / 'coco', 3)
    source = coco_source(root, annotations='annotations/val.json', images='val')
    cell = cell_root(build(source, tmp_path / 'out', options=options), 'contrast', 4)
    dataset = CocoDataset(
        data_root=f'{cell}/',
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=('person',)),
        pipeline=PIPELINE,
        test_mode=True,
    )
    assert len(dataset) == 3
    assert dataset[0]['img'].shape == (50, 60, 3)
    np.testing.assert_array_equal(dataset[0]['gt_bboxes'], [[5, 5, 15, 15]])
    image, target = CocoDetection(str(cell / 'val'), str(cell / 'annotations/val.json'))[1]
    assert image.size == (60, 50) and target[0]['image_id'] == 1


def test_a_subset_of_coco_lists_only_its_images(tmp_path):
    root = make_coco(tmp_path / 'coco', 6)
    source = coco_source(root, annotations='annotations/val.json', images='val')
    out = build(source, tmp_path / 'out', subset=2)
    data = json.loads((out / 'contrast/2/annotations/val.json').read_bytes())
    listed = [entry['file_name'] for entry in data['images']]
    assert len(listed) == 2 and listed == list(read_manifest(out).images)
    assert listed == sorted(path.name for path in (out / 'contrast/2/val').iterdir())


def test_torchvision_reads_an_image_folder(tmp_path):
    images = make_voc(tmp_path / 'voc', 3) / 'VOC2007/JPEGImages'
    for number, name in enumerate(IDS):
        (tmp_path / f'in/class{number % 2}').mkdir(parents=True, exist_ok=True)
        shutil.copy(images / f'{name}.jpg', tmp_path / f'in/class{number % 2}/{name}.jpg')
    out = build(folder_source(tmp_path / 'in'), tmp_path / 'out')
    dataset = ImageFolder(str(cell_root(out, 'shot_noise', 2)))
    assert dataset.classes == ['class0', 'class1']
    assert [label for _, label in dataset.samples] == [0, 0, 1]


def test_a_real_folder_instead_of_a_link_raises(tmp_path):
    source = voc_source(make_voc(tmp_path / 'voc', 3))
    out = build(source, tmp_path / 'out')
    link = out / 'contrast/2/VOC2007/Annotations'
    link.unlink()
    link.mkdir()
    assert verify_benchmark(out, workers=0, quiet=True).damaged == (
        'contrast/2/VOC2007/Annotations',
    )
    with pytest.raises(BenchmarkError, match='Annotations is a folder where a file'):
        build(source, out)
