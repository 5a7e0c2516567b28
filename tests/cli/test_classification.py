"""The entry points with a classifier of mmpretrain: train, prune, resume, test, corrupt."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from adasap_det.cli import make_voc_c, test_robustness, train
from adasap_det.cli import test as test_cli
from adasap_det.robustness.results import load_results

pytest.importorskip('mmpretrain')

CLASSES = ('bar', 'dot', 'ring')
GRID = ('--corruptions', 'fog', 'contrast', 'shot_noise', '--severities', '1', '3')


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    image = rng.integers(0, 80, (32, 32, 3)).astype(np.uint8)
    colour = tuple(int(c) for c in rng.integers(120, 256, 3))
    centre = tuple(int(c) for c in rng.integers(10, 22, 2))
    if kind == 'bar':
        cv2.rectangle(image, (2, centre[1] - 3), (30, centre[1] + 3), colour, -1)
    else:
        cv2.circle(image, centre, 8, colour, -1 if kind == 'dot' else 2)
    return image


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> Path:
    """``train`` and ``test`` with one folder per class."""
    root, rng = tmp_path_factory.mktemp('folders'), np.random.default_rng(0)
    for split, number in (('train', 8), ('test', 4)):
        for kind in CLASSES:
            (root / split / kind).mkdir(parents=True)
            for index in range(number):
                cv2.imwrite(str(root / split / kind / f'{index}.png'), draw(kind, rng))
    return root


@pytest.fixture(scope='module')
def config(folders, tmp_path_factory) -> Path:
    """Three epochs of two iterations, inherited from the shipped AdaSAP config."""
    path = tmp_path_factory.mktemp('config') / 'mine.py'
    path.write_text(f"""
_base_ = 'adasap_det::resnet/resnet18-w8_adasap-params50_1xb128-8e_cifar10.py'
load_from = None
__meta = dict(classes={CLASSES!r})
data_preprocessor = dict(num_classes=3)
model = dict(head=dict(num_classes=3))
train_dataloader = dict(
    batch_size=12, num_workers=0, dataset=dict(data_root={str(folders)!r}, metainfo=__meta))
val_dataloader = dict(
    batch_size=8, num_workers=0, dataset=dict(data_root={str(folders / 'test')!r}, metainfo=__meta))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=3)
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=-1),
    random_state=dict(type='RandomStateHook'),
    pruning=dict(
        type='PruningHook', importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.5), by_epoch=False, adaptive_begin=0,
        prune_begin=2, prune_steps=2, prune_interval=1, round_to=2, input_size=(32, 32)))
custom_hooks = []
""")
    return path


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('run')
    assert train.main([str(config), '--work-dir', str(folder)]) == 0
    return folder / 'epoch_3.pth'


def params(path: Path) -> int:
    state = torch.load(path, weights_only=True)['state_dict']
    return sum(v.numel() for k, v in state.items() if not k.endswith(('_mean', '_var', 'tracked')))


def test_trains_prunes_resumes_and_tests(config, checkpoint, tmp_path, capsys):
    first = params(checkpoint.with_name('epoch_1.pth'))
    assert 0.4 <= params(checkpoint) / first <= 0.55
    resumed = tmp_path / 'resumed'
    start = str(checkpoint.with_name('epoch_2.pth'))
    assert train.main([str(config), '--work-dir', str(resumed), '--resume', start]) == 0
    full, resumed_run = (
        torch.load(p, weights_only=True) for p in (checkpoint, resumed / 'epoch_3.pth')
    )
    for name, value in full['state_dict'].items():
        assert torch.equal(value, resumed_run['state_dict'][name]), name
    assert test_cli.main([str(config), str(checkpoint), '--work-dir', str(tmp_path / 't')]) == 0
    assert re.search(r'accuracy/top1: \d+\.', capsys.readouterr().out)


def evaluate(config, checkpoint, out, *options):
    command = [str(config), str(checkpoint), '--out', str(out), *GRID, *options]
    assert test_robustness.main(command) == 0
    return load_results(out)


def test_built_and_on_the_fly_results_are_equal_and_reported(
    config, checkpoint, folders, tmp_path, capsys
):
    benchmark = tmp_path / 'c'
    source = ['--layout', 'folder', '--source', str(folders / 'test'), '--out', str(benchmark)]
    build = [*source, '--format', 'png', '--workers', '0', *GRID]
    assert make_voc_c.main(build) == 0
    fly = evaluate(config, checkpoint, tmp_path / 'fly', '--report')
    built = evaluate(
        config, checkpoint, tmp_path / 'built', '--benchmark', str(benchmark), '--images', '0'
    )
    assert len(fly.cells) == 7
    for key, cell in fly.cells.items():
        assert set(cell.metrics) == {'top1'}
        assert set(cell.per_class['top1']) == set(CLASSES)
        assert built.cells[key].metrics == cell.metrics
        assert built.cells[key].per_class == cell.per_class
        assert cell.images == 12
    assert fly.model.dataset.classes == CLASSES
    assert 'top1 in %' in capsys.readouterr().out
    report = json.loads((tmp_path / 'fly' / 'report.json').read_text())
    assert report['metric'] == 'top1'
    assert len(list((tmp_path / 'fly' / 'images').glob('*.jpg'))) == 4


def test_benchmark_without_manifest(config, checkpoint, folders, tmp_path):
    """As ImageNet-C is published, with one archive in its own folder."""
    benchmark = tmp_path / 'c'
    source = ['--layout', 'folder', '--source', str(folders / 'test'), '--out', str(benchmark)]
    assert make_voc_c.main([*source, '--format', 'png', '--workers', '0', *GRID]) == 0
    options = ('--benchmark', str(benchmark), '--images', '0')
    built = evaluate(config, checkpoint, tmp_path / 'built', *options)
    (benchmark / 'manifest.json').unlink()
    (benchmark / 'progress.jsonl').unlink(missing_ok=True)
    (benchmark / 'weather').mkdir()
    (benchmark / 'fog').rename(benchmark / 'weather' / 'fog')
    found = evaluate(config, checkpoint, tmp_path / 'found', *options)
    assert {k: c.metrics for k, c in found.cells.items()} == {
        k: c.metrics for k, c in built.cells.items()
    }
    assert found.cells['fog', 3].source == 'c, as downloaded'
    # mCE is for published images, if they have ImageNet's classes.
    assert found.model.imagenet_c and not built.model.imagenet_c


def test_metric_of_the_other_task_is_rejected(config, checkpoint, capsys):
    command = [str(config), str(checkpoint), '--metric', 'AP50']
    assert test_robustness.main(command) == 2
    assert 'top1, top5, the metrics of classification' in capsys.readouterr().err


def test_benchmark_of_crops_is_not_resized_again(config, checkpoint, folders, tmp_path):
    """On the fly the crop is corrupted too; the pipeline crops the clean images."""
    benchmark = tmp_path / 'c'
    source = ['--layout', 'folder', '--source', str(folders / 'test'), '--out', str(benchmark)]
    build = [*source, '--crop', '40', '--format', 'png', '--workers', '0', *GRID]
    assert make_voc_c.main(build) == 0
    assert cv2.imread(str(benchmark / 'fog/1/bar/0.png')).shape == (40, 40, 3)
    sized = tmp_path / 'sized.py'
    steps = "[dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=46, edge='short'), \\\n"
    steps += "dict(type='CenterCrop', crop_size=40), dict(type='PackInputs')]"
    sized.write_text(
        f'_base_ = {str(config)!r}\ntest_dataloader = dict(dataset=dict(pipeline={steps}))\n'
    )
    built = evaluate(
        sized, checkpoint, tmp_path / 'built', '--benchmark', str(benchmark), '--images', '0'
    )
    fly = evaluate(sized, checkpoint, tmp_path / 'fly', '--images', '0')
    assert built.cells[None, 0].metrics == fly.cells[None, 0].metrics
    # Resized by PIL there and by OpenCV here: nearly the same images.
    for key, cell in fly.cells.items():
        assert abs(cell.metrics['top1'] - built.cells[key].metrics['top1']) <= 2 / 12


def test_crop_of_images_with_boxes_is_rejected(shapes, tmp_path, capsys):
    source = ['--source', str(shapes), '--year', '2007', '--out', str(tmp_path / 'c')]
    assert make_voc_c.main([*source, '--crop', '64', '--workers', '0']) == 2
    assert "does not work with the layout 'voc'" in capsys.readouterr().err
    assert not (tmp_path / 'c').exists()


@pytest.fixture
def shifted(config, folders, tmp_path) -> Path:
    """Test images in numbered folders, shifted by one: correct predictions become wrong."""
    for label, kind in enumerate(CLASSES):
        target = tmp_path / 'numbered' / str((label + 1) % 3)
        shutil.copytree(folders / 'test' / kind, target)
    path = tmp_path / 'shifted.py'
    path.write_text(f"""
_base_ = {str(config)!r}
test_dataloader = dict(dataset=dict(
    _delete_=True, type='MappedFolder', mapping='number', data_root={str(tmp_path / 'numbered')!r},
    metainfo=dict(classes={CLASSES!r}),
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
""")
    return path


def test_shifted_test_sets_and_their_ratio_to_the_clean_accuracy(
    config, checkpoint, shifted, tmp_path, capsys
):
    same = ('--shifted', f'same={config}', f'turned={shifted}')
    options = ('--images', '0', '--report')
    found = evaluate(config, checkpoint, tmp_path / 'out', *options, *same)
    clean = found.cells[None, 0]
    by_name = {one.name: one for one in found.shifted}
    assert by_name['same'].metrics == clean.metrics and by_name['same'].images == 12
    # Three classes of four images: predicting the neighbour class is correct in the shifted set.
    assert by_name['turned'].metrics['top1'] <= 1 - clean.metrics['top1']
    ratio = by_name['turned'].metrics['top1'] / clean.metrics['top1']
    out = capsys.readouterr().out
    assert re.search(rf'R_turned\W+{100 * ratio:.1f}', out), out
    model = json.loads((tmp_path / 'out' / 'report.json').read_text())['models'][0]
    assert model['shifted']['same']['value_over_P'] == 1
    # A later run keeps the results and does not evaluate them again.
    again = evaluate(config, checkpoint, tmp_path / 'out', '--shifted', f'turned={shifted}')
    assert again.shifted == found.shifted
    assert 'turned is already evaluated' in capsys.readouterr().out


def test_shifted_test_sets_are_evaluated_again_for_another_config_with_the_same_weights(
    config, checkpoint, shifted, tmp_path, capsys
):
    own, option = (str(config), str(checkpoint)), ('--shifted', f'turned={shifted}')
    out = ('--out', str(tmp_path / 'out'), '--metric', 'top1', '--images', '0', *GRID)
    assert test_robustness.main([*own, *out, *option]) == 0
    first = capsys.readouterr().out
    # mmpretrain's configs have the preprocessor beside the model, not in it.
    dark = ['--cfg-options', 'data_preprocessor.mean=[255.0,255.0,255.0]']
    assert test_robustness.main([*own, *out, *option, *dark]) == 0
    again = capsys.readouterr().out
    assert 'turned: top1' in first and 'turned: top1' in again
    assert 'there already' not in again  # nor are the cells


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('v2.py', "--shifted 'v2.py': expected NAME=CONFIG"),
        ('V2=nowhere.py', "config 'nowhere.py' does not exist"),
        ('V2=adasap_det::demo/shapes_dense.py', 'data_root'),
    ],
)
def test_invalid_shifted_test_sets(config, checkpoint, tmp_path, capsys, value, message):
    command = [str(config), str(checkpoint), '--out', str(tmp_path), *GRID, '--shifted', value]
    assert test_robustness.main(command) == 2
    err = capsys.readouterr().err
    assert message in err and err.count('\n') == 1


def test_shifted_test_set_needs_the_models_classes(config, checkpoint, shifted, tmp_path, capsys):
    text = shifted.read_text().replace(repr(CLASSES), repr((*CLASSES, 'more')))
    shifted.write_text(text)
    command = [str(config), str(checkpoint), '--out', str(tmp_path / 'o'), *GRID]
    assert test_robustness.main([*command, '--shifted', f'turned={shifted}']) == 2
    assert 'has 4 classes, that of th' in capsys.readouterr().err
