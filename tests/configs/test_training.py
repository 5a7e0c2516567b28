"""Every detection config trains, prunes and validates at its own input size."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from adasap_det.datasets import make_shapes_voc
from adasap_det.datasets.shapes import SHAPE_CLASSES
from adasap_det.hooks import PruningHook
from adasap_det.pruning.budgets.cost import count_params
from adasap_det.pruning.order import ORDER_KEY, RemovalOrder

from .test_configs import CONFIGS, ELASTIC, FAMILIES

pytestmark = pytest.mark.slow

VOC_NAMES = ('dog', 'cat', 'person', 'horse', 'sheep', 'cow')


@pytest.fixture(scope='module')
def devkit(tmp_path_factory) -> Path:
    """Two images of shapes for each year in VOC layout, with class names of Pascal VOC."""
    root = tmp_path_factory.mktemp('VOCdevkit')
    folder = make_shapes_voc(root, num_train=2, num_val=2, num_test=2)
    for path in (folder / 'Annotations').glob('*.xml'):
        text = path.read_text()
        for i, shape in enumerate(SHAPE_CLASSES):
            name = VOC_NAMES[i % len(VOC_NAMES)]
            text = text.replace(f'<name>{shape}</name>', f'<name>{name}</name>')
        path.write_text(text)
    lists = folder / 'ImageSets' / 'Main'
    shutil.copy(lists / 'train.txt', lists / 'trainval.txt')
    shutil.copytree(folder, root / 'VOC2012')
    return root


def short_run(name: str, devkit: Path, work_dir: Path, *, batch: int = 2) -> Runner:
    """A run of one epoch of four images, from random weights."""
    cfg = Config.fromfile(CONFIGS / name)
    cfg.work_dir = str(work_dir)
    cfg.load_from = None
    cfg.model.backbone.init_cfg = None
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.batch_size, loader.num_workers = batch, 0
        relocate(loader.dataset, f'{devkit}/')
    if 'pruning' in cfg.default_hooks:
        cfg.default_hooks.pruning.update(
            by_epoch=False, prune_begin=1, prune_steps=1, prune_interval=1, evaluate_pruning=False
        )
    return Runner.from_cfg(cfg)


def relocate(dataset: Any, root: str) -> None:
    if 'times' in dataset:
        dataset.times = 1
    if 'data_root' in dataset:
        dataset.data_root = root
    for inner in dataset.get('datasets', [dataset.dataset] if 'dataset' in dataset else []):
        relocate(inner, root)


@pytest.mark.parametrize('family', FAMILIES)
def test_adasap_trains_and_prunes(family, devkit, tmp_path):
    # VOC 2012 alone has two training images, a single iteration.
    if family == 'ssdlite_voc2012':
        names = (devkit / 'VOC2007/ImageSets/Main/train.txt').read_text()
        (devkit / 'VOC2012/ImageSets/Main/train.txt').write_text(names * 2)
    # With frozen batch norm, the large detectors can train on single images, in half the memory.
    batch = 1 if family in ('retinanet', 'faster_rcnn') else 2
    runner = short_run(FAMILIES[family].adasap, devkit, tmp_path, batch=batch)
    dense = count_params(runner.model)
    runner.train()
    assert runner.iter == 4 / batch
    assert runner.optim_wrapper.stage == 'uniform'
    assert 0.2 * dense < count_params(runner.model) <= 0.4 * dense
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    scalars = runner.message_hub.log_scalars
    assert math.isfinite(scalars['train/loss'].current())
    assert math.isfinite(scalars['train/rise'].current())
    assert 0 <= scalars['val/pascal_voc/mAP'].current() <= 1


def test_elastic_config_trains_and_any_size_can_be_taken(devkit, tmp_path):
    runner = short_run(ELASTIC['ssdlite'], devkit, tmp_path)
    hook = next(h for h in runner.hooks if isinstance(h, PruningHook))
    hook.prune_steps, hook.recalibrate_batches = 0, 1
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert 'val/pascal_voc/mAP_at_0.2' in scalars
    assert runner.optim_wrapper.stage == 'adaptive'
    dense = count_params(runner.model)
    meta = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['meta']
    order = RemovalOrder.from_state_dict(meta[ORDER_KEY], hook.pruner.groups)
    for ratio in (0.8, 0.4, 0.2):
        result = hook.pruner.prune_to(ratio * dense, order=order)
        order = order.within(result.kept)
        assert 0.9 * ratio * dense < count_params(runner.model) <= ratio * dense


@pytest.mark.parametrize(('twin', 'left'), [('dense', 1.0), ('pruned', 0.4)])
def test_dense_and_pruned_configs_train(twin, left, devkit, tmp_path):
    runner = short_run(getattr(FAMILIES['ssdlite'], twin), devkit, tmp_path)
    dense = count_params(runner.model)
    runner.train()
    assert runner.iter == 2
    assert 'train/rise' not in runner.message_hub.log_scalars
    assert left - 0.2 < count_params(runner.model) / dense <= left
