"""Clean data other than those that a benchmark was built from are an error."""

import json
import shutil

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from adasap_det.cli import make_voc_c
from adasap_det.robustness.evaluation import clean_data
from adasap_det.robustness.evaluation.cell_data import Built
from adasap_det.robustness.evaluation.clean_data import check_clean_data

from ...helpers.source_trees import make_coco, make_voc

BUILD = ('--corruptions', 'contrast', '--severities', '1', '--workers', '0', '--quiet')


def build(out, *options):
    assert make_voc_c.main([*BUILD, *map(str, options), '--out', str(out)]) == 0
    return Built(out)


@pytest.fixture
def voc(tmp_path):
    """Root, config and benchmark of three images."""
    init_default_scope('mmdet')
    root = make_voc(tmp_path / 'voc', 3)
    config = dict(
        type='VOCDataset', data_root=f'{root}/', ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'), test_mode=True,
    )  # fmt: skip
    return root, config, build(tmp_path / 'c', '--source', root, '--subset', 2)


def kept_image(built):
    return next(iter(built.manifest.images))


def test_unchanged_data_pass(voc):
    _, config, built = voc
    check_clean_data(built, config)
    check_clean_data(built, dict(type='ClassBalancedDataset', dataset=config))


def test_a_swapped_class_is_an_error_that_names_the_annotation(voc):
    root, config, built = voc
    path = root / f'VOC2007/Annotations/{kept_image(built)}.xml'
    path.write_text(path.read_text().replace('cat', 'dog'))
    with pytest.raises(ValueError, match=f'{path} is not the file .* build .* with --overwrite'):
        check_clean_data(built, config)


@pytest.mark.parametrize('change', [shutil.copyfile, lambda other, path: path.unlink()])
def test_another_or_no_image_is_an_error_that_names_it(voc, change):
    root, config, built = voc
    last = list(built.manifest.images)[-1]
    other = root / f'VOC2007/JPEGImages/{kept_image(built)}.jpg'
    path = root / f'VOC2007/JPEGImages/{last}.jpg'
    change(other, path)
    with pytest.raises(ValueError, match=f'{path} is not the file'):
        check_clean_data(built, config)


def test_unchanged_images_are_read_once(voc, tmp_path):
    root, config, built = voc
    said = []
    options = dict(cache=tmp_path / 'out/clean_images.json', say=said.append)
    check_clean_data(built, config, **options)
    assert said == ['comparing 2 clean images with those that the benchmark was built from']
    check_clean_data(built, config, **options)
    assert len(said) == 1
    path = root / f'VOC2007/JPEGImages/{kept_image(built)}.jpg'
    path.write_bytes(path.read_bytes() + b'x')
    with pytest.raises(ValueError, match=f'{path} is not the file'):
        check_clean_data(built, config, **options)
    assert said[1].startswith('comparing 1 clean image with')
    with pytest.raises(ValueError, match=f'{path} is not the file'):  # though it is known
        check_clean_data(built, config, **options)
    options['cache'].write_text('{')
    path.write_bytes(path.read_bytes()[:-1])
    check_clean_data(built, config, **options)


def test_images_that_could_not_be_read_are_read_again(voc, tmp_path, monkeypatch):
    _, config, built = voc
    cache = tmp_path / 'clean_images.json'
    with monkeypatch.context() as patched:
        patched.setattr(clean_data, '_sha256', lambda path: None)
        with pytest.raises(ValueError, match='is not the file'):
            check_clean_data(built, config, cache=cache)
    check_clean_data(built, config, cache=cache)


@pytest.mark.parametrize('other', [[0, 1], [1, 1], [1, 0, 0], None])
def test_labels_that_are_arrays_are_compared(voc, monkeypatch, other):
    _, config, built = voc
    ours, theirs = np.array([1, 0]), None if other is None else np.array(other)
    entries = clean_data._entries

    def labelled(label):
        return lambda dataset: [{**entry, 'gt_label': label} for entry in entries(dataset)]

    monkeypatch.setattr(clean_data, '_entries', labelled(ours))
    check_clean_data(built, config)
    both = iter([labelled(ours), labelled(theirs)])
    monkeypatch.setattr(clean_data, '_entries', lambda dataset: next(both)(dataset))
    with pytest.raises(ValueError, match='is not the file'):
        check_clean_data(built, config)


def test_coco_annotations_are_compared(tmp_path):
    init_default_scope('mmdet')
    root = make_coco(tmp_path / 'coco', 2)
    path = root / 'annotations/val.json'
    options = ('--layout', 'coco', '--source', root, '--annotations', path, '--images', 'val')
    built = build(tmp_path / 'c', *options)
    config = dict(
        type='CocoDataset', data_root=f'{root}/', ann_file='annotations/val.json',
        data_prefix=dict(img='val/'), metainfo=dict(classes=('person',)), test_mode=True,
    )  # fmt: skip
    check_clean_data(built, config)
    data = json.loads(path.read_text())
    data['annotations'][1]['bbox'][0] += 1
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=f'{path} is not the file'):
        check_clean_data(built, config)


def test_images_of_classes_are_compared(tmp_path):
    pytest.importorskip('mmpretrain.datasets')
    init_default_scope('mmpretrain')
    root = make_coco(tmp_path / 'x', 2) / 'val'
    folders = tmp_path / 'folders'
    for index, path in enumerate(sorted(root.iterdir())):
        (folders / str(index)).mkdir(parents=True)
        path.rename(folders / str(index) / 'a.jpg')
    built = build(tmp_path / 'c', '--layout', 'folder', '--source', folders)
    config = dict(type='CustomDataset', data_root=f'{folders}/')
    check_clean_data(built, config)
    shutil.copyfile(folders / '0/a.jpg', folders / '1/a.jpg')
    with pytest.raises(ValueError, match=f'{folders}/1/a.jpg is not the file'):
        check_clean_data(built, config)
