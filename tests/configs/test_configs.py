"""The detection configs: what they build, and what twins differ in."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any, NamedTuple

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


class Twins(NamedTuple):
    """The dense, plainly pruned and AdaSAP config of a network."""

    dense: str
    pruned: str
    adasap: str


def twins(pattern: str, *, budget: str = 'params40') -> Twins:
    """Twins whose names differ in the method alone, which ``{}`` stands for."""
    methods = ('', f'pruned-{budget}_', f'adasap-{budget}_')
    return Twins(*(pattern.format(method) for method in methods))


FAMILIES = {
    'ssd512': twins('ssd/ssd512_r50_{}8xb16-800e_voc0712.py'),
    'ssd300': twins('ssd/ssd300_vgg16_{}8xb8-24e_voc0712.py'),
    'ssdlite': twins('ssdlite/ssdlite224_mobilenetv2_{}1xb16-90e_voc0712.py'),
    'ssdlite_voc2012': Twins(
        'ssdlite/ssdlite224_mobilenetv2_1xb16-8e_voc2012-6cls.py',
        'ssdlite/ssdlite224_mobilenetv2_pruned-params40_1xb16-6e_voc2012-6cls.py',
        'ssdlite/ssdlite224_mobilenetv2_adasap-params40_1xb16-6e_voc2012-6cls.py',
    ),
    'retinanet': twins('retinanet/retinanet_r50_fpn_{}1x_voc0712.py'),
    'faster_rcnn': twins('faster_rcnn/faster-rcnn_r50_fpn_{}1x_voc0712.py'),
}
FOLDERS = ('ssd', 'ssdlite', 'retinanet', 'faster_rcnn')
SSD512 = 'ssd/ssd512_r50_{}_8xb16-800e_voc0712.py'
BY_LATENCY = [SSD512.format(f'{method}-latency50') for method in ('pruned', 'adasap')]
SMALLER = [SSD512.format(f'{method}-params20') for method in ('pruned', 'adasap')]
PAPER = SSD512.format('adasap-paper-params40')
ELASTIC = {
    family: FAMILIES[family].adasap.replace('adasap-params40', 'adasap-elastic')
    for family in FAMILIES
    if family != 'ssd300'
}
ALIAS = 'ssd_voc_adasap.py'
NAMES = [name for family in FAMILIES.values() for name in family]
NAMES += [*BY_LATENCY, *SMALLER, PAPER, *ELASTIC.values(), ALIAS]
BASES = [path.relative_to(CONFIGS).as_posix() for path in (CONFIGS / '_base_').rglob('*.py')]
INPUT_SIZES = {
    'ssd512': (512, 512),
    'ssd300': (300, 300),
    'ssdlite': (224, 224),
    'ssdlite_voc2012': (224, 224),
    'retinanet': (600, 1000),
    'faster_rcnn': (600, 1000),
}
HOOK_NAMES = {
    'pruning': 'PruningHook',
    'random_state': 'RandomStateHook',
    'data_check': 'DataCheckHook',
    'channels_last': 'ChannelsLastHook',
}


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def strip_scope(node: Any) -> Any:
    """Plain data without the scopes that inheritance adds."""
    if isinstance(node, dict):
        return {key: strip_scope(value) for key, value in node.items() if key != '_scope_'}
    if isinstance(node, (list, tuple)):
        return [strip_scope(value) for value in node]
    return node


def plain(name: str) -> dict[str, Any]:
    return strip_scope(load(name).to_dict())


@functools.cache
def built(family: str) -> nn.Module:
    """The dense detector of a family with random weights, in eval mode; shared, do not change."""
    register_all_modules(init_default_scope=True)
    cfg = load(FAMILIES[family].dense)
    cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model).eval()


def differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def differing_pruning(name: str, other: str) -> set[str]:
    """Options of the pruning hook in which two configs differ, if nothing else differs in them."""
    one, two = plain(name), plain(other)
    assert differing(one, two) == {'default_hooks'}
    assert differing(one['default_hooks'], two['default_hooks']) == {'pruning'}
    return differing(one['default_hooks']['pruning'], two['default_hooks']['pruning'])


def test_every_detection_config_is_tested():
    found = [
        path.relative_to(CONFIGS).as_posix()
        for folder in FOLDERS
        for path in (CONFIGS / folder).glob('*.py')
    ]
    found += [path.name for path in CONFIGS.glob('*.py')]
    assert sorted(found) == sorted(NAMES)


@pytest.mark.parametrize('name', [*NAMES, *BASES])
def test_configs_are_short(name):
    path = CONFIGS / name
    lines = path.read_text().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith('# ')


# ------------------------------------------------------------------ twins


@pytest.mark.parametrize('family', FAMILIES)
def test_pruned_config_adds_the_pruning_hook(family):
    dense, pruned = plain(FAMILIES[family].dense), plain(FAMILIES[family].pruned)
    allowed = {'load_from'}
    if family == 'ssdlite_voc2012':  # starts from the dense detector, on a schedule of its own
        allowed |= {'max_epochs', 'train_cfg', 'param_scheduler', 'optim_wrapper'}
    assert differing(dense, pruned) - allowed == {'default_hooks'}
    assert differing(dense['default_hooks'], pruned['default_hooks']) == {'pruning'}
    assert 'pruning' not in dense['default_hooks']
    assert pruned['default_hooks']['pruning']['type'] == 'PruningHook'
    assert dense['optim_wrapper']['type'] == 'OptimWrapper'


@pytest.mark.parametrize('family', FAMILIES)
def test_adasap_config_changes_the_optim_wrapper_only(family):
    pruned, adasap = plain(FAMILIES[family].pruned), plain(FAMILIES[family].adasap)
    assert differing(pruned, adasap) == {'optim_wrapper'}
    assert differing(pruned['optim_wrapper'], adasap['optim_wrapper']) == {'type'}
    assert adasap['optim_wrapper']['type'] == 'AdaSAPOptimWrapper'


@pytest.mark.parametrize('method', ['pruned', 'adasap'])
def test_latency_config_differs_in_the_budget(method):
    by_params, by_latency = (
        SSD512.format(f'{method}-{budget}') for budget in ('params40', 'latency50')
    )
    assert differing_pruning(by_params, by_latency) == {'budget'}
    hook = plain(by_latency)['default_hooks']['pruning']
    assert hook['budget'] == {'type': 'LatencyBudget', 'keep_ratio': 0.5}
    assert hook['importance'] == {'type': 'TaylorImportance'}


@pytest.mark.parametrize('method', ['pruned', 'adasap'])
def test_smaller_config_differs_in_the_budget(method):
    usual, smaller = (SSD512.format(f'{method}-{budget}') for budget in ('params40', 'params20'))
    assert differing_pruning(usual, smaller) == {'budget'}
    budget = plain(smaller)['default_hooks']['pruning']['budget']
    assert budget == {'type': 'ParamsBudget', 'keep_ratio': 0.2}


@pytest.mark.parametrize('family', FAMILIES)
def test_default_recipe(family):
    cfg = load(FAMILIES[family].adasap)
    wrapper, hook = cfg.optim_wrapper, cfg.default_hooks.pruning
    assert not {'rise', 'rho_min', 'rho_max', 'rho'} & set(wrapper)  # the wrapper's defaults
    assert hook.importance == dict(type='TaylorImportance')
    assert hook.budget == dict(type='ParamsBudget', keep_ratio=0.4)
    assert hook.prune_steps == (10 if family == 'ssdlite_voc2012' else 30)


def test_papers_settings_of_ssd512():
    default, paper = plain(FAMILIES['ssd512'].adasap), plain(PAPER)
    assert differing(default, paper) == {'optim_wrapper', 'default_hooks'}
    wrapper, hook = paper['optim_wrapper'], paper['default_hooks']['pruning']
    radii = {'rho_min': 0.01, 'rho_max': 2.0, 'rho': 2.0, 'radius_map': 'linear'}
    assert wrapper == default['optim_wrapper'] | radii
    assert differing(default['default_hooks'], paper['default_hooks']) == {'pruning'}
    assert differing(default['default_hooks']['pruning'], hook) == {'importance'}
    assert hook['importance'] == {'type': 'MagnitudeImportance'}
    assert hook['prune_steps'] == 30
    assert hook['budget'] == {'type': 'ParamsBudget', 'keep_ratio': 0.4}


@pytest.mark.parametrize('family', ELASTIC)
def test_elastic_config_adds_the_stage_and_lets_norms_train(family):
    adasap, elastic = plain(FAMILIES[family].adasap), plain(ELASTIC[family])
    assert differing(adasap, elastic) <= {'default_hooks', 'model', 'sync_bn'}
    assert differing(adasap['default_hooks'], elastic['default_hooks']) == {'pruning'}
    hook = elastic['default_hooks']['pruning']
    expected = {
        'prune_steps': 0,
        'recalibrate_batches': 40,
        'elastic': {'evaluate_keep_ratios': [0.4, 0.2]},
    }
    assert hook == adasap['default_hooks']['pruning'] | expected
    backbone, before = elastic['model']['backbone'], adasap['model']['backbone']
    if backbone['type'] == 'ResNet':
        assert backbone == before | {'norm_eval': False}
        assert elastic['sync_bn'] == 'torch'
    else:
        assert backbone == before
        assert not backbone.get('norm_eval', False)


def test_alias_is_the_default_recipe():
    assert plain(ALIAS) == plain(FAMILIES['ssd512'].adasap)


@pytest.mark.parametrize('name', NAMES)
def test_hooks_build_and_include_those_of_mmdet(name):
    cfg = load(name)
    register_all_modules(init_default_scope=True)
    hooks = [cfg.default_hooks[key] for key in HOOK_NAMES if key in cfg.default_hooks]
    hooks += cfg.get('custom_hooks', [])
    types = [hook['type'] for hook in hooks]
    for hook in hooks:
        HOOKS.build({k: v for k, v in copy.deepcopy(hook).items() if k != 'priority'})
    assert {'RandomStateHook', 'DataCheckHook'} <= set(types)
    if 'ssd' in name:  # mmdet's SSD configs have these two, the others none
        assert {'NumClassCheckHook', 'CheckInvalidLossHook'} <= set(types)
    assert cfg.default_hooks.checkpoint.backend_args == dict(backend='atomic')
    assert cfg.train_dataloader.persistent_workers is False


@pytest.mark.parametrize('family', FAMILIES)
def test_macs_are_counted_at_the_training_size(family):
    cfg = load(FAMILIES[family].pruned)
    assert tuple(cfg.default_hooks.pruning.input_size) == INPUT_SIZES[family]
    (scale,) = {tuple(t.scale) for t in cfg.train_pipeline if t.type == 'Resize'}
    assert scale == INPUT_SIZES[family][::-1]


@pytest.mark.parametrize('family', FAMILIES)
def test_excluded_layers_exist(family):
    layers = {
        name for name, module in built(family).named_modules() if isinstance(module, nn.Conv2d)
    }
    for pattern in load(FAMILIES[family].pruned).default_hooks.pruning.exclude:
        assert pattern in layers


# ------------------------------------------------------------------ SSD512-ResNet-50


def test_ssd512_maps_and_priors():
    model = built('ssd512')
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 512, 512))
    assert [m.shape[2:] for m in maps] == [(side, side) for side in (64, 32, 16, 8, 4, 2, 1)]
    assert [m.shape[1] for m in maps] == [1024, 512, 512, 256, 256, 256, 256]
    generator = model.bbox_head.prior_generator
    assert generator.num_base_priors == [4, 6, 6, 6, 6, 4, 4]
    priors = generator.grid_priors([m.shape[2:] for m in maps], device='cpu')
    assert sum(len(p) for p in priors) == 24564
    # mmdet rounds the sizes down to integers.
    scales = (0.07, 0.15, 0.30, 0.45, 0.60, 0.75, 0.90)
    sizes = [int((p[0, 2] - p[0, 0]).item() + 1e-4) for p in priors]
    assert sizes == [int(512 * scale + 1e-4) for scale in scales]


def test_ssd512_has_the_macs_that_halp_reports():
    """65.56 G in HALP's table, whose counter adds two operations per value of a batch norm."""
    model = built('ssd512')
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


def test_ssd512_schedule_is_that_of_smcp():
    cfg = load(FAMILIES['ssd512'].adasap)
    assert cfg.train_cfg.max_epochs == 800
    assert cfg.train_dataloader.dataset.times == 1
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 128
    assert cfg.auto_scale_lr.enable
    lists = [d.ann_file for d in cfg.train_dataloader.dataset.dataset.datasets]
    assert lists == [f'VOC{year}/ImageSets/Main/trainval.txt' for year in (2007, 2012)]
    assert cfg.test_dataloader.dataset.ann_file == 'VOC2007/ImageSets/Main/test.txt'
    assert cfg.test_evaluator.eval_mode == '11points'
    hook = cfg.default_hooks.pruning
    assert (hook.prune_begin, hook.prune_interval) == (60, 80)
    assert cfg.model.train_cfg.neg_pos_ratio == 3
    assert cfg.model.train_cfg.assigner.pos_iou_thr == 0.5
    test_cfg = cfg.model.test_cfg
    assert (test_cfg.score_thr, test_cfg.max_per_img) == (0.01, 200)
    assert test_cfg.nms.iou_threshold == 0.45


def test_ssd512_learning_rate_over_the_epochs():
    cfg = load(FAMILIES['ssd512'].dense)
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


def test_ssd512_weight_decay_and_learning_rate_of_biases_and_norms():
    model = built('ssd512')
    cfg = load(FAMILIES['ssd512'].adasap).optim_wrapper
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
    head = built('ssd512').bbox_head
    from mmdet.models.losses import smooth_l1_loss

    error = torch.tensor([[0.001, -0.5, 2.0, -7.0]])
    loss = smooth_l1_loss(error, torch.zeros(1, 4), beta=head.train_cfg['smoothl1_beta'])
    assert loss.item() == pytest.approx(error.abs().mean().item(), rel=1e-4)


# ------------------------------------------------------------------ the other detectors


def test_ssdlite_maps_and_priors():
    model = built('ssdlite')
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 224, 224))
    assert [m.shape[2:] for m in maps] == [(side, side) for side in (14, 7, 4, 2, 1)]
    generator = model.bbox_head.prior_generator
    priors = generator.grid_priors([m.shape[2:] for m in maps], device='cpu')
    assert [len(p) for p in priors] == [6 * side * side for side in (14, 7, 4, 2, 1)]
    for level in priors:  # centres are spread evenly over the image
        centres = (level[:, :2] + level[:, 2:]) / 2
        assert torch.allclose(centres.mean(0), torch.tensor([112.0, 112.0]))


def test_ssd300_has_the_priors_of_mmdet():
    """8,732 priors, as in the SSD paper."""
    model = built('ssd300')
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 300, 300))
    sides = [m.shape[2:] for m in maps]
    priors = model.bbox_head.prior_generator.grid_priors(sides, device='cpu')
    assert sum(len(p) for p in priors) == 8732


@pytest.mark.parametrize(
    ('family', 'base'),
    [
        ('ssd300', 'ssd300_voc0712'),
        ('retinanet', 'retinanet_r50_fpn_1x_voc0712'),
        ('faster_rcnn', 'faster-rcnn_r50_fpn_1x_voc0712'),
    ],
)
def test_dense_recipe_is_that_of_mmdet(family, base, tmp_path):
    inheriting = tmp_path / 'mmdets.py'
    inheriting.write_text(f"_base_ = 'mmdet::pascal_voc/{base}.py'\n")
    theirs = strip_scope(Config.fromfile(inheriting).to_dict())
    ours = plain(FAMILIES[family].dense)
    housekeeping = {'custom_imports', 'default_hooks', 'randomness'}
    loaders = {f'{stage}_dataloader' for stage in ('train', 'val', 'test')}
    assert differing(ours, theirs) == housekeeping | loaders
    for loader in loaders:
        assert differing(ours[loader], theirs[loader]) == {'persistent_workers'}


@pytest.mark.parametrize('family', FAMILIES)
def test_model_has_as_many_classes_as_its_data(family):
    cfg = load(FAMILIES[family].dense)
    head = cfg.model.roi_head.bbox_head if 'roi_head' in cfg.model else cfg.model.bbox_head
    metainfo = cfg.test_dataloader.dataset.get('metainfo')
    assert head.num_classes == (len(metainfo.classes) if metainfo else 20)


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith('ssdlite/')])
def test_voc_root_sets_the_data_root_of_ssdlite(name, monkeypatch):
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


def test_cpu_recipe_is_small():
    """Small enough to train on CPU cores."""
    model = built('ssdlite_voc2012')
    assert count_params(model) < 4e6
    assert count_macs(model, input_size=(224, 224)) < 0.5e9
