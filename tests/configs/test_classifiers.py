"""The classifiers' recipes: twins, and networks that are pruned and reloaded."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from adasap_det.checkpoint.structure import mark_pruned
from adasap_det.hooks import PruningHook
from adasap_det.pruning import (
    ParamsBudget,
    count_params,
    find_channel_groups,
    prune_channels,
    select_channels,
)
from adasap_det.pruning.graph.tracing import example_image

from .test_configs import CONFIGS, differing, strip_scope

pytest.importorskip('mmpretrain')
FAMILIES = (
    'cifar10/resnet18_w8_cifar10',
    'cifar10/mobilenetv2_cifar10',
    'imagenet/resnet50_imagenet',
    'imagenet/mobilenetv1_imagenet',
    'imagenet/mobilenetv2_imagenet',
    'imagenet/convnext_tiny_imagenet',
    'imagenet/deit_small_imagenet',
)
BY_LATENCY = {
    f'imagenet/{network}_imagenet_latency_{twin}'
    for network in ('resnet50', 'mobilenetv1', 'mobilenetv2')
    for twin in ('pruned', 'adasap')
}
BY_SIZE = {
    f'imagenet/resnet50_imagenet_keep{size}_{twin}'
    for size in (77, 20)
    for twin in ('pruned', 'adasap')
}
PARAMETERS = {
    'imagenet/resnet50_imagenet': 25_557_032,  # torchvision's
    'imagenet/mobilenetv1_imagenet': 4_231_976,
    'imagenet/mobilenetv2_imagenet': 3_504_872,  # torchvision's
    'imagenet/convnext_tiny_imagenet': 28_589_128,  # torchvision's
    'imagenet/deit_small_imagenet': 22_050_664,  # timm's
}


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def plain(name: str) -> dict:
    return strip_scope(load(name).to_dict())


def build(cfg: Config):
    from mmpretrain.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg.model).eval()


def test_every_config_is_one_of_three_twins():
    found = {
        path.relative_to(CONFIGS).with_suffix('').as_posix()
        for folder in ('cifar10', 'imagenet')
        for path in (CONFIGS / folder).glob('*.py')
        if not path.stem.endswith(('_v2', '_objectnet'))
    }
    twins = {f'{name}_{twin}' for name in FAMILIES for twin in ('dense', 'pruned', 'adasap')}
    assert found == twins | BY_LATENCY | BY_SIZE


@pytest.mark.parametrize('name', [f'{family}_adasap' for family in (*FAMILIES, 'demo/shapes')])
def test_checkpoints_are_written_whole(name):
    assert load(name).default_hooks.checkpoint.backend_args == dict(backend='atomic')


@pytest.mark.parametrize('name', sorted(BY_SIZE))
def test_at_another_size_differs_in_the_budget(name):
    size = re.search(r'_keep(\d+)', name)
    usual, other = plain(name.replace(size.group(), '')), plain(name)
    assert differing(usual, other) == {'custom_hooks'}
    (before,), (after,) = usual['custom_hooks'], other['custom_hooks']
    assert differing(before, after) == {'budget'}
    assert after['budget'] == {'type': 'ParamsBudget', 'keep_ratio': int(size[1]) / 100}


@pytest.mark.parametrize('name', sorted(BY_LATENCY))
def test_by_latency_differs_in_budget_and_importance(name):
    by_params, by_latency = plain(name.replace('_latency', '')), plain(name)
    assert differing(by_params, by_latency) == {'custom_hooks'}
    (before,), (after,) = by_params['custom_hooks'], by_latency['custom_hooks']
    assert differing(before, after) - {'importance'} == {'budget'}
    assert after['importance'] == {'type': 'TaylorImportance'}
    assert after['budget'] == {'type': 'LatencyBudget', 'keep_ratio': 0.5, 'batch_size': 256}
    PruningHook(**{key: value for key, value in after.items() if key != 'type'})


@pytest.mark.parametrize('family', FAMILIES)
def test_twins_differ_in_what_adasap_changes(family):
    dense, pruned, adasap = (plain(f'{family}_{twin}') for twin in ('dense', 'pruned', 'adasap'))
    schedule = {'load_from', 'max_epochs', 'train_cfg', 'param_scheduler', 'optim_wrapper'}
    allowed = schedule | {'default_hooks'} if family.startswith('cifar10') else set()
    assert differing(dense, pruned) - allowed == {'custom_hooks'}
    *hooks, added = pruned['custom_hooks']
    assert hooks == dense.get('custom_hooks', [])
    assert added['type'] == 'PruningHook'
    assert differing(pruned, adasap) == {'optim_wrapper'}
    own = {'type', 'form', 'rho_min', 'rho_max', 'rho', 'ungrouped'}
    assert differing(pruned['optim_wrapper'], adasap['optim_wrapper']) - own == set()
    assert adasap['optim_wrapper']['type'] == 'AdaSAPOptimWrapper'


@pytest.mark.parametrize('family', [f for f in FAMILIES if f.startswith('imagenet')])
def test_the_papers_schedule(family):
    cfg = load(f'{family}_adasap')
    wrapper, hook = cfg.optim_wrapper, cfg.custom_hooks[-1]
    assert (wrapper.rho_min, wrapper.rho_max, wrapper.rho) == (0.01, 2.0, 2.0)
    assert (hook.prune_begin, hook.prune_steps, hook.prune_interval) == (10, 30, 30)
    if 'net' in family.split('/')[1][:9]:  # the paper's own networks
        optimizer = cfg.optim_wrapper.optimizer
        if optimizer.type == 'SGD':
            assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
                1.024,
                0.875,
                3.05e-5,
            )
            assert cfg.train_cfg.max_epochs == 90


@pytest.mark.slow
@pytest.mark.parametrize('family', PARAMETERS)
def test_pruned_and_reloaded(family):
    if 'mobilenetv1' in family:
        pytest.importorskip('timm')
    cfg = load(f'{family}_adasap')
    hook = cfg.custom_hooks[-1]
    model = build(cfg)
    assert count_params(model) == PARAMETERS[family]
    groups = find_channel_groups(
        model, example_image(hook.input_size), exclude=list(hook.exclude)
    ).groups
    cost = (
        ParamsBudget(keep_ratio=hook.budget.keep_ratio)
        .plan(model, groups, example_image(hook.input_size))
        .cost
    )
    generator = torch.Generator().manual_seed(0)
    kept = select_channels(
        groups,
        [torch.rand(group.size, generator=generator) for group in groups],
        cost,
        limit=hook.budget.keep_ratio * cost.cost(),
        round_to=hook.round_to,
    )
    prune_channels(model, groups, kept)
    share = count_params(model) / PARAMETERS[family]
    assert hook.budget.keep_ratio - 0.02 <= share <= hook.budget.keep_ratio
    state = model.state_dict()
    mark_pruned(state)
    again = build(cfg)
    again.load_state_dict(state)
    inputs = torch.rand(1, 3, *hook.input_size, generator=generator)
    with torch.inference_mode():
        assert torch.equal(first(model(inputs)), first(again(inputs)))


def first(output):
    return output[0] if isinstance(output, (tuple, list)) else output


@pytest.mark.slow
def test_imagenet_v2_is_read_by_class_number(tmp_path, monkeypatch):
    """A checkpoint whose head answers 10 for everything is right in the folder 10 alone."""
    for name in ('10', '2', '101'):
        (tmp_path / 'v2' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'v2' / name / '0.jpeg'), np.zeros((300, 260, 3), np.uint8))
    monkeypatch.setenv('IMAGENETV2_ROOT', str(tmp_path / 'v2'))
    cfg = load('imagenet/resnet50_imagenet_v2')
    cfg.work_dir = str(tmp_path / 'run')
    cfg.test_dataloader.num_workers = 0
    runner = Runner.from_cfg(cfg)
    runner.model.head.fc.bias.data[10] = 1e6
    found = runner.test()
    assert found['robustness/top1'] == pytest.approx(1 / 3)
    assert found['robustness/per_class']['top1']['10'] == 1.0
    assert found['robustness/per_class']['top1']['101'] == 0.0


def test_objectnet_is_read_with_its_own_mapping(monkeypatch):
    monkeypatch.setenv('OBJECTNET_ROOT', '/data/objectnet')
    data = load('imagenet/resnet50_objectnet').test_dataloader.dataset
    assert (data.mapping, data.data_root) == ('objectnet', '/data/objectnet/images')
