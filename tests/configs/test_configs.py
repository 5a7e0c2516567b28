"""The shipped recipes: that they build what they say, and that twins are twins."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, PARAM_SCHEDULERS
from torch import nn

from adasap_det.pruning.budgets.cost import count_macs, count_params

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FAMILIES = (
    'ssd_voc',
    'ssd300_vgg16_voc',
    'ssdlite_mobilenetv2_voc',
    'ssdlite_mobilenetv2_voc2012',
    'retinanet_r50_fpn_voc',
    'faster_rcnn_r50_fpn_voc',
)
TWINS = ('dense', 'pruned', 'adasap')
BY_LATENCY = ['ssd_voc_latency_pruned.py', 'ssd_voc_latency_adasap.py']
SMALLER = ['ssd_voc_keep20_pruned.py', 'ssd_voc_keep20_adasap.py']
NAMES = [f'{family}_{twin}.py' for family in FAMILIES for twin in TWINS] + BY_LATENCY + SMALLER
PIECES = [path.relative_to(CONFIGS).as_posix() for path in (CONFIGS / '_base_').rglob('*.py')]
INPUT_SIZES = {
    'ssd_voc': (512, 512),
    'ssd300_vgg16_voc': (300, 300),
    'ssdlite_mobilenetv2_voc': (224, 224),
    'ssdlite_mobilenetv2_voc2012': (224, 224),
    'retinanet_r50_fpn_voc': (600, 1000),
    'faster_rcnn_r50_fpn_voc': (600, 1000),
}


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def strip_scope(node: Any) -> Any:
    """Plain data without the marks that inheritance leaves."""
    if isinstance(node, dict):
        return {key: strip_scope(value) for key, value in node.items() if key != '_scope_'}
    if isinstance(node, (list, tuple)):
        return [strip_scope(value) for value in node]
    return node


def plain(name: str) -> dict[str, Any]:
    return strip_scope(load(name).to_dict())


@functools.cache
def built(family: str) -> nn.Module:
    """The detector of a family with random weights, in eval mode. Not to be changed."""
    register_all_modules(init_default_scope=True)
    cfg = load(f'{family}_dense.py')
    cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model).eval()


def differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_every_config_is_one_of_three_twins_by_latency_or_smaller():
    assert sorted(path.name for path in CONFIGS.glob('*.py')) == sorted(NAMES)


@pytest.mark.parametrize('name', [*NAMES, *PIECES])
def test_configs_are_short(name):
    path = CONFIGS / name
    lines = path.read_text().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith('# ')


# ------------------------------------------------------------------ twins


@pytest.mark.parametrize('family', FAMILIES)
def test_pruned_is_dense_and_a_pruning_hook(family):
    dense, pruned = plain(f'{family}_dense.py'), plain(f'{family}_pruned.py')
    allowed = {'load_from'}
    if family.endswith('voc2012'):  # goes on from the dense detector, on a schedule of its own
        allowed |= {'max_epochs', 'train_cfg', 'param_scheduler', 'optim_wrapper'}
    assert differing(dense, pruned) - allowed == {'custom_hooks'}
    *hooks, added = pruned['custom_hooks']
    assert hooks == dense['custom_hooks']
    assert added['type'] == 'PruningHook'
    assert dense['optim_wrapper']['type'] == 'OptimWrapper'


@pytest.mark.parametrize('family', FAMILIES)
def test_adasap_is_pruned_with_another_optim_wrapper(family):
    pruned, adasap = plain(f'{family}_pruned.py'), plain(f'{family}_adasap.py')
    assert differing(pruned, adasap) == {'optim_wrapper'}
    own = {'type', 'form', 'rho_min', 'rho_max', 'rho', 'ungrouped'}
    assert differing(pruned['optim_wrapper'], adasap['optim_wrapper']) == own
    assert adasap['optim_wrapper']['type'] == 'AdaSAPOptimWrapper'
    assert adasap['optim_wrapper']['form'] == 'asam'


@pytest.mark.parametrize('twin', ['pruned', 'adasap'])
def test_by_latency_differs_in_budget_and_importance(twin):
    by_params, by_latency = plain(f'ssd_voc_{twin}.py'), plain(f'ssd_voc_latency_{twin}.py')
    assert differing(by_params, by_latency) == {'custom_hooks'}
    *hooks, before = by_params['custom_hooks']
    assert by_latency['custom_hooks'][:-1] == hooks
    after = by_latency['custom_hooks'][-1]
    assert differing(before, after) == {'budget', 'importance'}
    assert after['budget'] == {'type': 'LatencyBudget', 'keep_ratio': 0.5}


@pytest.mark.parametrize('twin', ['pruned', 'adasap'])
def test_at_another_size_differs_in_the_budget(twin):
    usual, smaller = plain(f'ssd_voc_{twin}.py'), plain(f'ssd_voc_keep20_{twin}.py')
    assert differing(usual, smaller) == {'custom_hooks'}
    *hooks, before = usual['custom_hooks']
    assert smaller['custom_hooks'][:-1] == hooks
    after = smaller['custom_hooks'][-1]
    assert differing(before, after) == {'budget'}
    assert after['budget'] == {'type': 'ParamsBudget', 'keep_ratio': 0.2}


@pytest.mark.parametrize('family', [f for f in FAMILIES if f != 'ssdlite_mobilenetv2_voc2012'])
def test_the_papers_numbers(family):
    wrapper = load(f'{family}_adasap.py').optim_wrapper
    assert (wrapper.rho_min, wrapper.rho_max, wrapper.rho) == (0.01, 2.0, 2.0)
    hook = load(f'{family}_adasap.py').custom_hooks[-1]
    assert hook.prune_steps == 30
    assert hook.budget == dict(type='ParamsBudget', keep_ratio=0.4)


@pytest.mark.parametrize('name', NAMES)
def test_hooks_build_and_none_of_mmdets_is_lost(name):
    cfg = load(name)
    register_all_modules(init_default_scope=True)
    types = [hook['type'] for hook in cfg.custom_hooks]
    for hook in cfg.custom_hooks:
        HOOKS.build({k: v for k, v in copy.deepcopy(hook).items() if k != 'priority'})
    assert {'RandomStateHook', 'DataCheckHook'} <= set(types)
    if 'ssd' in name:  # mmdet's SSD configs have these two, the others none
        assert {'NumClassCheckHook', 'CheckInvalidLossHook'} <= set(types)
    assert cfg.default_hooks.checkpoint.backend_args == dict(backend='atomic')
    assert cfg.train_dataloader.persistent_workers is False


@pytest.mark.parametrize('family', FAMILIES)
def test_macs_are_counted_at_the_size_trained_at(family):
    cfg = load(f'{family}_pruned.py')
    assert tuple(cfg.custom_hooks[-1].input_size) == INPUT_SIZES[family]
    (scale,) = {tuple(t.scale) for t in cfg.train_pipeline if t.type == 'Resize'}
    assert scale == INPUT_SIZES[family][::-1]


@pytest.mark.parametrize('family', FAMILIES)
def test_excluded_layers_exist(family):
    layers = {
        name for name, module in built(family).named_modules() if isinstance(module, nn.Conv2d)
    }
    for pattern in load(f'{family}_pruned.py').custom_hooks[-1].exclude:
        assert pattern in layers


# ------------------------------------------------------------------ SSD512-ResNet-50


def test_ssd512_maps_and_priors():
    model = built('ssd_voc')
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 512, 512))
    assert [m.shape[2:] for m in maps] == [(side, side) for side in (64, 32, 16, 8, 4, 2, 1)]
    assert [m.shape[1] for m in maps] == [1024, 512, 512, 256, 256, 256, 256]
    generator = model.bbox_head.prior_generator
    assert generator.num_base_priors == [4, 6, 6, 6, 6, 4, 4]
    priors = generator.grid_priors([m.shape[2:] for m in maps], device='cpu')
    assert sum(len(p) for p in priors) == 24564
    # mmdet cuts the sizes down to whole pixels.
    scales = (0.07, 0.15, 0.30, 0.45, 0.60, 0.75, 0.90)
    sizes = [int((p[0, 2] - p[0, 0]).item() + 1e-4) for p in priors]
    assert sizes == [int(512 * scale + 1e-4) for scale in scales]


def test_ssd512_costs_what_halp_says():
    """HALP's table says 65.56 G; its counter takes two operations per value of a batch norm."""
    model = built('ssd_voc')
    normed = 0

    def add(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        nonlocal normed
        normed += output.numel()

    handles = [
        module.register_forward_hook(add)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    try:
        macs = count_macs(model, input_size=(512, 512))
    finally:
        for handle in handles:
            handle.remove()
    assert (macs + 2 * normed) / 1e9 == pytest.approx(65.56, abs=0.005)


def test_ssd512_trains_as_smcp():
    cfg = load('ssd_voc_adasap.py')
    assert cfg.train_cfg.max_epochs == 800
    assert cfg.train_dataloader.dataset.times == 1
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 128
    assert cfg.auto_scale_lr.enable
    lists = [d.ann_file for d in cfg.train_dataloader.dataset.dataset.datasets]
    assert lists == [f'VOC{year}/ImageSets/Main/trainval.txt' for year in (2007, 2012)]
    assert cfg.test_dataloader.dataset.ann_file == 'VOC2007/ImageSets/Main/test.txt'
    assert cfg.test_evaluator.eval_mode == '11points'
    hook = cfg.custom_hooks[-1]
    assert (hook.prune_begin, hook.prune_interval) == (60, 80)
    assert cfg.model.train_cfg.neg_pos_ratio == 3
    assert cfg.model.train_cfg.assigner.pos_iou_thr == 0.5
    test_cfg = cfg.model.test_cfg
    assert (test_cfg.score_thr, test_cfg.max_per_img) == (0.01, 200)
    assert test_cfg.nms.iou_threshold == 0.45


def test_ssd512_learning_rate_over_the_epochs():
    cfg = load('ssd_voc_dense.py')
    lr = cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(800):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    at = {0: 8e-3 / 51, 25: 8e-3 * 26 / 51, 50: 8e-3, 599: 8e-3, 600: 3e-3, 699: 3e-3,
          700: 1e-3, 739: 1e-3, 740: 4e-4, 769: 4e-4, 770: 4e-5, 799: 4e-5}  # fmt: skip
    assert {epoch: rates[epoch] for epoch in at} == pytest.approx(at, rel=1e-6)


def test_ssd512_decay_and_rate_of_biases_and_norms():
    model = built('ssd_voc')
    cfg = load('ssd_voc_adasap.py').optim_wrapper
    register_all_modules(init_default_scope=True)
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg))
    found = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
        for parameter in module.parameters()
    }
    kinds = set()
    for name, parameter in model.named_parameters():
        kind = (name.endswith('.bias'), id(parameter) in norms)
        kinds.add(kind)
        expected = (16e-3 if kind[0] else 8e-3, 0.0 if kind[1] else 2e-3)
        assert found[id(parameter)] == pytest.approx(expected), name
    assert kinds == {(False, False), (True, False), (False, True), (True, True)}


def test_ssd512_box_loss_is_l1():
    head = built('ssd_voc').bbox_head
    from mmdet.models.losses import smooth_l1_loss

    error = torch.tensor([[0.001, -0.5, 2.0, -7.0]])
    loss = smooth_l1_loss(error, torch.zeros(1, 4), beta=head.train_cfg['smoothl1_beta'])
    assert loss.item() == pytest.approx(error.abs().mean().item(), rel=1e-4)


# ------------------------------------------------------------------ the other detectors


def test_ssdlite_maps_and_priors():
    model = built('ssdlite_mobilenetv2_voc')
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 224, 224))
    assert [m.shape[2:] for m in maps] == [(side, side) for side in (14, 7, 4, 2, 1)]
    generator = model.bbox_head.prior_generator
    priors = generator.grid_priors([m.shape[2:] for m in maps], device='cpu')
    assert [len(p) for p in priors] == [6 * side * side for side in (14, 7, 4, 2, 1)]
    for level in priors:  # centres spread evenly over the image
        centres = (level[:, :2] + level[:, 2:]) / 2
        assert torch.allclose(centres.mean(0), torch.tensor([112.0, 112.0]))


def test_ssd300_is_mmdets():
    """8,732 priors, as in the SSD paper."""
    model = built('ssd300_vgg16_voc')
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 300, 300))
    sides = [m.shape[2:] for m in maps]
    priors = model.bbox_head.prior_generator.grid_priors(sides, device='cpu')
    assert sum(len(p) for p in priors) == 8732


@pytest.mark.parametrize(
    ('family', 'base'),
    [
        ('ssd300_vgg16_voc', 'ssd300_voc0712'),
        ('retinanet_r50_fpn_voc', 'retinanet_r50_fpn_1x_voc0712'),
        ('faster_rcnn_r50_fpn_voc', 'faster-rcnn_r50_fpn_1x_voc0712'),
    ],
)
def test_dense_recipe_is_mmdets(family, base, tmp_path):
    inheriting = tmp_path / 'mmdets.py'
    inheriting.write_text(f"_base_ = 'mmdet::pascal_voc/{base}.py'\n")
    theirs = strip_scope(Config.fromfile(inheriting).to_dict())
    ours = plain(f'{family}_dense.py')
    housekeeping = {'custom_hooks', 'custom_imports', 'default_hooks', 'randomness'}
    loaders = {f'{stage}_dataloader' for stage in ('train', 'val', 'test')}
    assert differing(ours, theirs) == housekeeping | loaders
    for loader in loaders:
        assert differing(ours[loader], theirs[loader]) == {'persistent_workers'}


@pytest.mark.parametrize('family', FAMILIES)
def test_model_knows_as_many_classes_as_its_data(family):
    cfg = load(f'{family}_dense.py')
    head = cfg.model.roi_head.bbox_head if 'roi_head' in cfg.model else cfg.model.bbox_head
    metainfo = cfg.test_dataloader.dataset.get('metainfo')
    assert head.num_classes == (len(metainfo.classes) if metainfo else 20)


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith('ssdlite')])
def test_ssdlite_finds_its_data_where_voc_root_says(name, monkeypatch):
    def roots() -> set[str]:
        found = set()

        def walk(node: Any) -> None:
            if isinstance(node, dict):
                found.update([node['data_root']] if 'data_root' in node else [])
                node = list(node.values())
            if isinstance(node, list):
                for value in node:
                    walk(value)

        walk(plain(name))
        return found

    monkeypatch.delenv('VOC_ROOT', raising=False)
    assert roots() == {'data/VOCdevkit/'}
    monkeypatch.setenv('VOC_ROOT', '/elsewhere/VOCdevkit/')
    assert roots() == {'/elsewhere/VOCdevkit/'}


def test_parameters_and_macs_of_the_cpu_recipe():
    """Small enough for CPU cores: the reason it exists."""
    model = built('ssdlite_mobilenetv2_voc2012')
    assert count_params(model) < 4e6
    assert count_macs(model, input_size=(224, 224)) < 0.5e9
