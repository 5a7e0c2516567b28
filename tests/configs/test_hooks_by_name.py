"""Hooks of the configs are overridden by name and run in the right order."""

from __future__ import annotations

import copy

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from adasap_det.hooks import PruningHook

from .test_classifiers import FAMILIES as CLASSIFIERS
from .test_configs import CONFIGS, FAMILIES, load

BASE = FAMILIES['ssdlite_voc2012'].adasap
PRUNED = [family.adasap for family in (*FAMILIES.values(), *CLASSIFIERS.values())]


def child_runner(folder, text: str) -> Runner:
    """The runner of a config that inherits from the SSDLite recipe by name."""
    path = folder / 'child.py'
    path.write_text(f"_base_ = 'adasap_det::{BASE}'\n{text}")
    cfg = Config.fromfile(path)
    cfg.work_dir = str(folder / 'run')
    cfg.model.backbone.init_cfg = None
    return Runner.from_cfg(cfg)


def pruning_hook(runner: Runner) -> PruningHook:
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, PruningHook)]
    return hook


def test_child_config_overrides_one_option_of_the_pruning_hook(tmp_path):
    text = 'default_hooks = dict(pruning=dict(prune_steps=3, budget=dict(keep_ratio=0.3)))\n'
    hook, base = pruning_hook(child_runner(tmp_path, text)), load(BASE).default_hooks.pruning
    assert hook.prune_steps == 3
    assert hook.budget.keep_ratio == 0.3
    assert base.prune_steps != 3
    assert hook.prune_begin == base.prune_begin
    assert hook.exclude == tuple(base.exclude)
    assert type(hook.importance).__name__ == base.importance.type


def test_child_config_replaces_the_budget(tmp_path):
    text = (
        'default_hooks = dict(pruning=dict('
        "budget=dict(_delete_=True, type='MACsBudget', keep_ratio=0.5)))\n"
    )
    hook = pruning_hook(child_runner(tmp_path, text))
    assert type(hook.budget).__name__ == 'MACsBudget'
    assert hook.budget.keep_ratio == 0.5


def test_custom_hooks_of_a_child_config_keep_the_pruning_hook(tmp_path):
    runner = child_runner(tmp_path, "custom_hooks = [dict(type='EmptyCacheHook')]\n")
    names = [type(hook).__name__ for hook in runner.hooks]
    assert {'EmptyCacheHook', 'RandomStateHook', 'DataCheckHook'} <= set(names)
    assert pruning_hook(runner).prune_steps == load(BASE).default_hooks.pruning.prune_steps


def test_command_line_overrides_one_option_of_the_pruning_hook():
    cfg = load(BASE)
    cfg.merge_from_dict({'default_hooks.pruning.budget.keep_ratio': 0.3})
    expected = load(BASE).default_hooks.pruning
    expected.budget.keep_ratio = 0.3
    assert cfg.default_hooks.pruning == expected


@pytest.mark.parametrize('name', PRUNED)
def test_hooks_run_in_order(name):
    """Prune before weights are averaged, logged and saved; save the random state last."""
    cfg = load(name)
    hooks = copy.deepcopy(dict(cfg.default_hooks))
    hooks.pop('visualization', None)  # needs a visualizer
    runner = Runner.__new__(Runner)
    runner._hooks = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        runner.register_hooks(hooks, copy.deepcopy(cfg.get('custom_hooks')))
    order = [type(hook).__name__ for hook in runner.hooks]
    pruning = order.index('PruningHook')
    for later in ('EMAHook', 'LoggerHook', 'ParamSchedulerHook', 'CheckpointHook'):
        assert later not in order or pruning < order.index(later)
    assert ('EMAHook' in order) == ('convnext' in name)
    if 'DataCheckHook' in order:
        assert order.index('DataCheckHook') < pruning
    if 'RandomStateHook' in order:
        assert order[-1] == 'RandomStateHook'


def test_no_config_lists_our_hooks_by_position():
    ours = ('PruningHook', 'RandomStateHook', 'DataCheckHook', 'ChannelsLastHook')
    studies = CONFIGS.parent / 'benchmarks' / 'configs'
    for path in (*CONFIGS.rglob('*.py'), *studies.glob('*.py')):
        if '_base_' in path.parts:
            continue
        custom = Config.fromfile(path).get('custom_hooks') or []
        assert not [hook for hook in custom if hook['type'] in ours], path
