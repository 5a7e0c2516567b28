"""The classification configs: what twins differ in, and that pruned networks reload."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from adasap_det.hooks import PruningHook
from adasap_det.pruning import (
    ParamsBudget,
    count_params,
    find_channel_groups,
    prune_channels,
    select_channels,
)
from adasap_det.pruning.graph.tracing import example_image

from .test_configs import CONFIGS, Twins, differing, differing_pruning, load, plain, twins

pytest.importorskip('mmpretrain')
FAMILIES = {
    'resnet18_cifar10': Twins(
        'resnet/resnet18-w8_1xb128-24e_cifar10.py',
        'resnet/resnet18-w8_pruned-params50_1xb128-8e_cifar10.py',
        'resnet/resnet18-w8_adasap-params50_1xb128-8e_cifar10.py',
    ),
    'mobilenetv2_cifar10': Twins(
        'mobilenet/mobilenet-v2_1xb128-8e_cifar10.py',
        'mobilenet/mobilenet-v2_pruned-params50_1xb128-6e_cifar10.py',
        'mobilenet/mobilenet-v2_adasap-params50_1xb128-6e_cifar10.py',
    ),
    'resnet50': twins('resnet/resnet50_{}8xb128-90e_in1k.py'),
    'mobilenetv1': twins('mobilenet/mobilenet-v1_{}8xb128-90e_in1k.py', budget='params50'),
    'mobilenetv2': twins('mobilenet/mobilenet-v2_{}8xb128-90e_in1k.py', budget='params50'),
    'convnext': twins('convnext/convnext-tiny_{}32xb128_in1k.py', budget='params50'),
    'deit': twins('deit/deit-small_{}4xb256_in1k.py', budget='params50'),
}
FOLDERS = ('resnet', 'mobilenet', 'convnext', 'deit')
PAPER = 'resnet/resnet50_adasap-paper-params40_8xb128-90e_in1k.py'
TESTS = {'resnet/resnet50_test_imagenetv2.py', 'resnet/resnet50_test_objectnet.py'}
METHODS = ('pruned', 'adasap')
# The elastic config of a family, and the AdaSAP config that it inherits.
ELASTIC = {
    re.sub(r'adasap-params\d+', 'adasap-elastic', FAMILIES[family].adasap): FAMILIES[family].adasap
    for family in ('resnet18_cifar10', 'mobilenetv2_cifar10', 'resnet50', 'mobilenetv2')
}
# Of each config by latency or at another size, the usual one.
BY_LATENCY = {
    getattr(FAMILIES[family], method).replace(params, 'latency50'): getattr(
        FAMILIES[family], method
    )
    for family, params in (
        ('resnet50', 'params40'),
        ('mobilenetv1', 'params50'),
        ('mobilenetv2', 'params50'),
    )
    for method in METHODS
}
BY_SIZE = {
    (method, size): f'resnet/resnet50_{method}-params{size}_8xb128-90e_in1k.py'
    for size in (77, 20)
    for method in METHODS
}
ON_IMAGENET = [family for family in FAMILIES if not family.endswith('cifar10')]
PARAMETERS = {
    'resnet50': 25_557_032,  # torchvision's
    'mobilenetv1': 4_231_976,
    'mobilenetv2': 3_504_872,  # torchvision's
    'convnext': 28_589_128,  # torchvision's
    'deit': 22_050_664,  # timm's
}


def build(cfg: Config):
    from mmpretrain.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg.model).eval()


def test_every_classification_config_is_tested():
    found = {
        path.relative_to(CONFIGS).as_posix()
        for folder in FOLDERS
        for path in (CONFIGS / folder).glob('*.py')
    }
    names = {name for family in FAMILIES.values() for name in family}
    assert found == names | set(BY_LATENCY) | set(BY_SIZE.values()) | set(ELASTIC) | {PAPER} | TESTS


@pytest.mark.parametrize('name', ELASTIC)
def test_elastic_config_adds_the_stage(name):
    elastic, adasap = load(name).to_dict(), load(ELASTIC[name]).to_dict()
    hook = elastic['default_hooks'].pop('pruning')
    assert hook == adasap['default_hooks'].pop('pruning') | {
        'prune_steps': 0,
        'recalibrate_batches': 40,
        'elastic': {'evaluate_keep_ratios': (0.4, 0.2)},
    }
    assert elastic == adasap


@pytest.mark.parametrize(
    'name', [*(family.adasap for family in FAMILIES.values()), 'demo/shapes_elastic.py']
)
def test_checkpoints_are_written_atomically(name):
    assert load(name).default_hooks.checkpoint.backend_args == dict(backend='atomic')


@pytest.mark.parametrize(('method', 'size'), BY_SIZE)
def test_config_of_another_size_differs_in_the_budget(method, size):
    usual, other = getattr(FAMILIES['resnet50'], method), BY_SIZE[method, size]
    assert differing_pruning(usual, other) == {'budget'}
    budget = plain(other)['default_hooks']['pruning']['budget']
    assert budget == {'type': 'ParamsBudget', 'keep_ratio': size / 100}


@pytest.mark.parametrize('name', BY_LATENCY)
def test_latency_config_differs_in_the_budget(name):
    assert differing_pruning(BY_LATENCY[name], name) == {'budget'}
    hook = plain(name)['default_hooks']['pruning']
    assert hook['importance'] == {'type': 'TaylorImportance'}
    assert hook['budget'] == {'type': 'LatencyBudget', 'keep_ratio': 0.5, 'batch_size': 256}
    PruningHook(**{key: value for key, value in hook.items() if key != 'type'})


@pytest.mark.parametrize('family', FAMILIES)
def test_twins_differ_in_pruning_and_in_the_optim_wrapper(family):
    dense, pruned, adasap = (plain(name) for name in FAMILIES[family])
    on_cifar = family.endswith('cifar10')
    schedule = {'load_from', 'max_epochs', 'train_cfg', 'param_scheduler', 'optim_wrapper'}
    assert differing(dense, pruned) - (schedule if on_cifar else set()) == {'default_hooks'}
    hooks = differing(dense['default_hooks'], pruned['default_hooks'])
    assert hooks - ({'checkpoint'} if on_cifar else set()) == {'pruning'}
    assert 'pruning' not in dense['default_hooks']
    assert pruned['default_hooks']['pruning']['type'] == 'PruningHook'
    assert differing(pruned, adasap) == {'optim_wrapper'}
    own = {'type', 'form', 'rho_min', 'rho_max', 'rho', 'ungrouped'}
    assert differing(pruned['optim_wrapper'], adasap['optim_wrapper']) - own == set()
    assert adasap['optim_wrapper']['type'] == 'AdaSAPOptimWrapper'


@pytest.mark.parametrize('family', ON_IMAGENET)
def test_default_recipe(family):
    cfg = load(FAMILIES[family].adasap)
    wrapper, hook = cfg.optim_wrapper, cfg.default_hooks.pruning
    assert not {'rise', 'rho_min', 'rho_max', 'rho'} & set(wrapper)  # the wrapper's defaults
    assert hook.importance == dict(type='TaylorImportance')
    assert (hook.prune_begin, hook.prune_steps, hook.prune_interval) == (10, 30, 30)
    if family not in ('convnext', 'deit'):  # the paper's networks
        optimizer = wrapper.optimizer
        assert optimizer.type == 'SGD'
        assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
            1.024,
            0.875,
            3.05e-5,
        )
        assert cfg.train_cfg.max_epochs == 90


def test_papers_settings_of_resnet50():
    default, paper = plain(FAMILIES['resnet50'].adasap), plain(PAPER)
    assert differing(default, paper) == {'optim_wrapper', 'default_hooks'}
    radii = {'rho_min': 0.01, 'rho_max': 2.0, 'rho': 2.0, 'radius_map': 'linear'}
    assert paper['optim_wrapper'] == default['optim_wrapper'] | radii
    assert differing(default['default_hooks'], paper['default_hooks']) == {'pruning'}
    usual, hook = default['default_hooks']['pruning'], paper['default_hooks']['pruning']
    assert differing(usual, hook) == {'importance'}
    assert hook['importance'] == {'type': 'MagnitudeImportance'}


@pytest.mark.slow
@pytest.mark.parametrize('family', PARAMETERS)
def test_pruned_classifier_reloads_with_equal_outputs(family):
    if family == 'mobilenetv1':
        pytest.importorskip('timm')
    cfg = load(FAMILIES[family].adasap)
    hook = cfg.default_hooks.pruning
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
    ratio = count_params(model) / PARAMETERS[family]
    assert hook.budget.keep_ratio - 0.02 <= ratio <= hook.budget.keep_ratio
    reloaded = build(cfg)
    reloaded.load_state_dict(model.state_dict())
    inputs = torch.rand(1, 3, *hook.input_size, generator=generator)
    with torch.inference_mode():
        assert torch.equal(first(model(inputs)), first(reloaded(inputs)))


def first(output):
    return output[0] if isinstance(output, (tuple, list)) else output


@pytest.mark.slow
def test_imagenet_v2_folders_are_class_numbers(tmp_path, monkeypatch):
    """A model that always predicts class 10 is right for the folder 10 alone."""
    for name in ('10', '2', '101'):
        (tmp_path / 'v2' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'v2' / name / '0.jpeg'), np.zeros((300, 260, 3), np.uint8))
    monkeypatch.setenv('IMAGENETV2_ROOT', str(tmp_path / 'v2'))
    cfg = load('resnet/resnet50_test_imagenetv2.py')
    cfg.work_dir = str(tmp_path / 'run')
    cfg.test_dataloader.num_workers = 0
    runner = Runner.from_cfg(cfg)
    runner.model.head.fc.bias.data[10] = 1e6
    found = runner.test()
    assert found['robustness/top1'] == pytest.approx(1 / 3)
    assert found['robustness/per_class']['top1']['10'] == 1.0
    assert found['robustness/per_class']['top1']['101'] == 0.0


def test_objectnet_uses_its_own_class_mapping(monkeypatch):
    monkeypatch.setenv('OBJECTNET_ROOT', '/data/objectnet')
    data = load('resnet/resnet50_test_objectnet.py').test_dataloader.dataset
    assert (data.mapping, data.data_root) == ('objectnet', '/data/objectnet/images')
