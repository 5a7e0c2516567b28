"""A small data set and a downstream config for the entry points."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det.datasets import make_shapes_voc

PARTS = ('train', 'val', 'test')


@pytest.fixture(scope='session')
def shapes(tmp_path_factory) -> Path:
    """Eight training images of 96 pixels, four each for validation and test."""
    root = tmp_path_factory.mktemp('shapes')
    make_shapes_voc(root, num_train=8, num_val=4, num_test=4, image_size=96, seed=0)
    return root


@pytest.fixture
def config(shapes, tmp_path) -> Path:
    """Two iterations of the demo's detector, inherited as by another project."""
    lines = [
        "_base_ = 'adasap_det::demo/shapes_dense.py'",
        *(f'{part}_dataloader = dict(dataset=dict(data_root={str(shapes)!r}))' for part in PARTS),
        'train_dataloader.update(batch_size=4)',
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=100)",
        'default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))',
        # Enough detections to compare, from an untrained model.
        'model = dict(test_cfg=dict(score_thr=0.0, max_per_img=20))',
    ]
    path = tmp_path / 'mine.py'
    path.write_text('\n'.join(lines) + '\n')
    return path


@pytest.fixture
def untrained(config, tmp_path) -> Path:
    """The demo's detector as it is initialised."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    path = tmp_path / 'dense.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path
