"""Data sets of a benchmark's cells have the same images as the clean one, corrupted."""

import json
from pathlib import Path

import pytest
from mmengine.registry import DATASETS, init_default_scope

from adasap_det.cli import make_voc_c
from adasap_det.robustness.evaluation.cell_data import Built

from ...helpers.source_trees import image, make_coco

KEY = ('contrast', 1)
BUILD = ('--corruptions', 'contrast', '--severities', '1', '--workers', '0', '--quiet')


def build(out, *options):
    assert make_voc_c.main([*BUILD, *map(str, options), '--out', str(out)]) == 0
    return Built(out)


def entries(config):
    dataset = DATASETS.build({**config, 'pipeline': []})
    return [dataset.get_data_info(index) for index in range(len(dataset))]


# ------------------------------------------------------------------ COCO


@pytest.fixture
def pngs(tmp_path):
    """Four images in COCO's format, PNG."""
    from PIL import Image

    root = make_coco(tmp_path / 'pngs', 4)
    path = root / 'annotations/val.json'
    path.write_text(path.read_text().replace('.jpg', '.png'))
    for index, file in enumerate(sorted((root / 'val').glob('*.jpg'))):
        Image.fromarray(image(index)).save(file.with_suffix('.png'))
        file.unlink()
    return root


def coco(root, **changes):
    init_default_scope('mmdet')
    return dict(
        type='CocoDataset', data_root=f'{root}/', ann_file='annotations/val.json',
        data_prefix=dict(img='val/'), metainfo=dict(classes=('person',)), test_mode=True, **changes,
    )  # fmt: skip


def coco_options(root):
    options = ('--layout', 'coco', '--source', root, '--annotations', 'annotations/val.json')
    return (*options, '--images', 'val')


@pytest.mark.parametrize('subset', [None, 3])
def test_coco_cells_match_the_clean_images_despite_another_suffix(pngs, tmp_path, subset):
    options = () if subset is None else ('--subset', subset)
    built = build(tmp_path / 'c', *coco_options(pngs), *options)
    clean, cell = entries(built.clean(coco(pngs))), entries(built.cell(coco(pngs), KEY))
    for suffix, infos in (('.png', clean), ('.jpg', cell)):
        assert len(infos) == (subset or 4)
        for info in infos:
            assert Path(info['img_path']).suffix == suffix and Path(info['img_path']).is_file()
    assert [info['img_id'] for info in clean] == [info['img_id'] for info in cell]
    assert [info['instances'] for info in clean] == [info['instances'] for info in cell]
    assert all(str(tmp_path / 'c') in info['img_path'] for info in cell)


def test_indices_of_the_config_select_from_the_benchmark_images(pngs, tmp_path):
    built = build(tmp_path / 'c', *coco_options(pngs), '--subset', 3)
    config = coco(pngs, indices=2)
    clean, cell = entries(built.clean(config)), entries(built.cell(config, KEY))
    assert len(clean) == 2
    assert [info['img_id'] for info in clean] == [info['img_id'] for info in cell]


def test_data_prefix_outside_the_cell_is_rejected(pngs, tmp_path):
    built = build(tmp_path / 'c', *coco_options(pngs))
    for folder in (f'{pngs}/val/', 'train/'):
        config = {**coco(pngs), 'data_prefix': dict(img=folder)}
        with pytest.raises(ValueError, match=rf"no folder '{folder}'.*data_prefix\['img'\]"):
            built.cell(config, KEY)


def test_data_set_without_some_benchmark_images_is_rejected(pngs, tmp_path):
    built = build(tmp_path / 'c', *coco_options(pngs))
    path = pngs / 'annotations/val.json'
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, 'images': data['images'][1:]}))
    with pytest.raises(
        ValueError, match=r"1 of the 4 images .* missing .* such as '000000000000.png'"
    ):
        built.clean(coco(pngs))


def test_file_names_relative_to_the_data_root(pngs, tmp_path):
    path = pngs / 'annotations/val.json'
    path.write_text(path.read_text().replace('"file_name": "', '"file_name": "val/'))
    options = (*coco_options(pngs)[:-1], '.')
    built = build(tmp_path / 'c', *options)
    config = {**coco(pngs), 'data_prefix': dict(img='')}
    for changed in (built.clean(config), built.cell(config, KEY)):
        found = entries(changed)
        assert len(found) == 4 and all(Path(info['img_path']).is_file() for info in found)


# ------------------------------------------------------------------ image folders


@pytest.fixture
def folders(tmp_path):
    """Three classes with two PNG each, and the list of mmpretrain's other layout."""
    from PIL import Image

    root, lines = tmp_path / 'folders', []
    for label, name in enumerate(('bar', 'dot', 'ring')):
        (root / name).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(image(index)).save(root / name / f'{index}.png')
            # Labels differ from the order of the folders, to see that the list is used.
            lines.append(f'{name}/{index}.png {2 - label}\n')
    (tmp_path / 'list.txt').write_text(''.join(lines))
    return root


def custom(root, **changes):
    pytest.importorskip('mmpretrain.datasets')
    init_default_scope('mmpretrain')
    return dict(type='CustomDataset', data_root=f'{root}/', **changes)


def labels(config):
    found = {}
    for info in entries(config):
        path = Path(info['img_path'])
        assert path.is_file()
        found[f'{path.parent.name}/{path.stem}'] = info['gt_label']
    return found


@pytest.mark.parametrize('listed', [False, True])
def test_labels_of_a_subset_are_those_of_the_full_data_set(folders, tmp_path, listed):
    (tmp_path / 'part.txt').write_text('ring/1.png\nbar/0.png\n')
    source = ('--layout', 'folder', '--source', folders, '--subset', tmp_path / 'part.txt')
    built = build(tmp_path / 'c', *source)
    config = custom(folders, **(dict(ann_file=str(tmp_path / 'list.txt')) if listed else {}))
    clean, cell = labels(built.clean(config)), labels(built.cell(config, KEY))
    # 'dot' has no image in the subset; the other classes keep their labels.
    assert clean == cell == ({'bar/0': 2, 'ring/1': 0} if listed else {'bar/0': 0, 'ring/1': 2})


def test_classes_of_a_subset_are_those_of_the_full_data_set(folders, tmp_path):
    (tmp_path / 'part.txt').write_text('ring/1.png\n')
    source = ('--layout', 'folder', '--source', folders, '--subset', tmp_path / 'part.txt')
    built = build(tmp_path / 'c', *source)
    config = custom(folders)
    for changed in (built.clean(config), built.cell(config, KEY)):
        assert DATASETS.build(changed).metainfo['classes'] == ('bar', 'dot', 'ring')
