"""Reading configs and reporting usage errors."""

import argparse

import pytest
import torch
from mmengine.config import Config

from adasap_det.cli import common
from adasap_det.cli.common import UsageError


def arguments(config, **kwargs) -> argparse.Namespace:
    defaults = dict(work_dir=None, cfg_options=None, launcher='none', local_rank=0)
    return argparse.Namespace(config=str(config), **{**defaults, **kwargs})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'recipe.py'
    path.write_text('value = 1\nnested = dict(a=1)\n')
    return path


def test_work_dir_is_named_after_the_config(file):
    assert common.load_config(arguments(file)).work_dir == './work_dirs/recipe'


def test_work_dir_of_the_command_line_overrides_the_configs(file):
    file.write_text("work_dir = 'from_config'\n")
    assert common.load_config(arguments(file)).work_dir == 'from_config'
    assert common.load_config(arguments(file, work_dir='mine')).work_dir == 'mine'


def test_overrides_are_merged(file):
    cfg = common.load_config(arguments(file, cfg_options={'nested.a': 5}, launcher='slurm'))
    assert cfg.nested.a == 5 and cfg.value == 1
    assert cfg.launcher == 'slurm'


def test_shipped_configs_are_found_by_scope():
    cfg = common.load_config(arguments('adasap_det::demo/shapes_dense.py'))
    assert cfg.work_dir == './work_dirs/shapes_dense'
    with pytest.raises(UsageError, match='did you mean one of'):
        common.load_config(arguments('adasap_det::demo/shapes_dens.py'))


def test_error_names_an_unreadable_config(file):
    with pytest.raises(UsageError, match=r"config 'none\.py' does not exist"):
        common.load_config(arguments('none.py'))
    file.write_text('a = (\n')
    with pytest.raises(UsageError, match=r"recipe\.py' cannot be read: SyntaxError"):
        common.load_config(arguments(file))
    file.write_text("_base_ = 'adasap_det::nothing.py'\n")
    with pytest.raises(UsageError, match=r"adasap_det ships no config 'nothing\.py'"):
        common.load_config(arguments(file))


@pytest.mark.parametrize('hook', ['StructureHook', 'PruningHook', 'mmengine.PruningHook'])
def test_structure_hook_is_not_added_twice(hook):
    hooks = dict(custom_hooks=[dict(type='EMAHook'), dict(type=hook)])
    cfg = Config(hooks)
    common.add_structure_hook(cfg)
    assert cfg.to_dict() == hooks
    hooks = dict(default_hooks=dict(pruning=dict(type=hook)))
    cfg = Config(hooks)
    common.add_structure_hook(cfg)
    assert cfg.to_dict() == hooks


@pytest.mark.parametrize(
    'hooks', [{}, dict(custom_hooks=None, default_hooks=None), dict(custom_hooks=[])]
)
def test_structure_hook_is_added_to_the_default_hooks(hooks):
    cfg = Config(hooks)
    common.add_structure_hook(cfg)
    assert cfg.default_hooks == {'structure': {'type': 'StructureHook'}}
    assert cfg.get('custom_hooks') == hooks.get('custom_hooks')


def test_structure_hook_is_added_beside_other_default_hooks():
    cfg = Config(dict(default_hooks=dict(timer=dict(type='IterTimerHook'))))
    common.add_structure_hook(cfg)
    assert list(cfg.default_hooks) == ['timer', 'structure']


def test_any_default_hook_can_be_switched_off_with_none(file):
    file.write_text("default_hooks = dict(timer=None, data_check=dict(type='DataCheckHook'))\n")
    cfg = common.load_config(arguments(file, cfg_options={'default_hooks.data_check': None}))
    assert cfg.default_hooks == {'timer': None}  # of MMEngine's own, which it handles


def test_checkpoint_files_are_checked_and_urls_are_not(tmp_path):
    common.require_checkpoint('https://example.org/model.pth')
    torch.save({'state_dict': {}}, tmp_path / 'good.pth')
    common.require_checkpoint(str(tmp_path / 'good.pth'))
    with pytest.raises(UsageError, match='does not exist; give the path'):
        common.require_checkpoint(str(tmp_path / 'none.pth'))
