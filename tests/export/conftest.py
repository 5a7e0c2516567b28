"""A small one-stage detector whose head decodes as most of mmdet's do."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det import config_path

from ..helpers.lively import make_lively


@pytest.fixture(scope='session')
def detector():
    cfg = Config.fromfile(config_path('demo/shapes_dense.py'))
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    model.test_cfg.update(score_thr=0.05, max_per_img=30, nms_pre=100_000)
    model.bbox_head.test_cfg = model.test_cfg
    make_lively(model, (96, 96))
    return model


@pytest.fixture
def image():
    return 255 * torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(3))
