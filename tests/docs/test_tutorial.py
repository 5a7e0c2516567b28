"""The tutorial's data sets replace those of every detection config."""

import pytest
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from adasap_det.datasets import make_shapes_voc

from ..configs.test_configs import FAMILIES
from ..helpers.code_blocks import PAGES, blocks_of


@pytest.mark.parametrize('family', FAMILIES)
def test_data_sets_of_the_tutorial_replace_those_of_every_config(family, tmp_path, monkeypatch):
    (page,) = [page for page in PAGES if page.name == 'tutorial.md']
    (block,) = [block for block in blocks_of(page) if block.value == 'my_retinanet.py']
    base = FAMILIES['retinanet'].dense
    assert base in block.text
    path = tmp_path / 'mine.py'
    path.write_text(block.text.replace(base, FAMILIES[family].dense))
    monkeypatch.chdir(tmp_path)
    make_shapes_voc('data', num_train=5, num_val=3, num_test=2, image_size=64)
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(path)
    found = {
        stage: DATASETS.build(cfg[f'{stage}_dataloader'].dataset)
        for stage in ('train', 'val', 'test')
    }
    assert {stage: len(data) for stage, data in found.items()} == {'train': 5, 'val': 3, 'test': 2}
    for data in found.values():
        assert data.metainfo['classes'] == cfg.classes
        assert 'dataset_type' not in data.metainfo  # so VOCMetric prints these classes
        data[0]
    assert cfg.test_evaluator.eval_mode == 'area'
