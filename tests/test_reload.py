"""A trained and pruned detector is the same after loading by every supported function."""

import copy
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from adasap_det import config_path
from adasap_det.datasets import make_shapes_voc
from adasap_det.pruning import count_params

pytestmark = pytest.mark.slow

DOWNSTREAM = """
_base_ = {base!r}
custom_imports = dict(imports=['adasap_det'], allow_failed_imports=False)
data_root = {data!r}
train_dataloader = dict(
    batch_size=4, dataset=dict(data_root=data_root),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='VOC2007/ImageSets/Main/val.txt'))
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_interval=3)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
log_processor = dict(by_epoch=True)
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=-1))
model = dict(test_cfg=dict(score_thr=0.0, max_per_img=10))
optim_wrapper = dict(
    _delete_=True, type='AdaSAPOptimWrapper', rho_max=0.2, rho=0.2,
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='PruningHook', budget=dict(type='ParamsBudget', keep_ratio=0.5), prune_begin=1,
         prune_steps=2, prune_interval=2, round_to=8, input_size=(160, 160)),
]
work_dir = {work!r}
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A short run: trained model, config file, checkpoint and a folder of images."""
    folder = tmp_path_factory.mktemp('reload')
    make_shapes_voc(folder / 'data', num_train=16, num_val=6, num_test=2, seed=1)
    config = folder / 'downstream.py'
    config.write_text(
        DOWNSTREAM.format(
            base=config_path('demo/shapes_dense.py'),
            data=f'{folder}/data/',
            work=str(folder / 'work'),
        )
    )
    runner = Runner.from_cfg(Config.fromfile(str(config)))
    runner.train()
    # The config trains channels last; a loaded model has PyTorch's layout, which rounds otherwise.
    runner.model.eval().to(memory_format=torch.contiguous_format)
    return runner, str(config), str(folder / 'work' / 'epoch_3.pth'), folder / 'data' / 'VOC2007'


def images(voc: Path) -> list[str]:
    names = (voc / 'ImageSets/Main/val.txt').read_text().split()
    return [str(voc / 'JPEGImages' / f'{name}.jpg') for name in names[:2]]


def same_state(model, other):
    state = other.state_dict()
    return set(state) == set(model.state_dict()) and all(
        torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items()
    )


def same_predictions(actual, expected):
    actual, expected = actual.pred_instances, expected.pred_instances
    return all(
        torch.equal(actual[key], expected[key]) for key in ('bboxes', 'scores', 'labels')
    ) and len(expected)


def test_init_detector(run):
    from mmdet.apis import inference_detector, init_detector

    runner, config, checkpoint, voc = run
    detector = init_detector(config, checkpoint, device='cpu')
    assert count_params(detector) == count_params(runner.model)
    assert same_state(detector, runner.model)
    trained = runner.model
    trained.cfg = detector.cfg
    trained.dataset_meta = detector.dataset_meta
    for image in images(voc):
        assert same_predictions(
            inference_detector(detector, image), inference_detector(trained, image)
        )


def test_init_detector_rejects_a_pruned_checkpoint_that_does_not_fit(run, tmp_path):
    from mmdet.apis import init_detector

    _, config, checkpoint, _ = run
    content = torch.load(checkpoint, weights_only=True)
    name = next(iter(content['state_dict']))
    del content['state_dict'][name]
    torch.save(content, tmp_path / 'incomplete.pth')
    with pytest.raises(ValueError, match=f'lacks {name}'):
        init_detector(config, str(tmp_path / 'incomplete.pth'), device='cpu')


@pytest.mark.parametrize('given', ['config', 'checkpoint alone'])
def test_det_inferencer(run, given):
    from mmdet.apis import DetInferencer

    runner, config, checkpoint, voc = run
    inferencer = DetInferencer(
        model=config if given == 'config' else None, weights=checkpoint, device='cpu'
    )
    assert same_state(inferencer.model, runner.model)
    results = inferencer(cv2.imread(images(voc)[0]), pred_score_thr=0.0)
    assert len(results['predictions'][0]['scores']) == 10


@pytest.mark.parametrize('hooks', [[], [{'type': 'StructureHook'}]])
def test_runner_test(run, hooks):
    runner, config, checkpoint, _ = run
    cfg = Config.fromfile(config)
    cfg.custom_hooks = hooks
    cfg.load_from = checkpoint
    cfg.work_dir = f'{cfg.work_dir}_test{len(hooks)}'
    tester = Runner.from_cfg(cfg)
    metrics = tester.test()
    assert same_state(tester.model, runner.model)
    trained = runner.val_loop.run()  # the test split of this config is the validation split
    assert metrics == trained


def test_fine_tuning_from_a_pruned_checkpoint(run):
    """Without a pruning hook in the config: pruned from the start, and trainable."""
    _, config, checkpoint, _ = run
    cfg = Config.fromfile(config)
    cfg.custom_hooks = [{'type': 'StructureHook'}]
    cfg.load_from = checkpoint
    cfg.work_dir = f'{cfg.work_dir}_tune'
    cfg.train_cfg.max_epochs = 1
    tuned = Runner.from_cfg(cfg)
    before = torch.load(checkpoint, weights_only=True)['state_dict']
    tuned.train()
    after = tuned.model.state_dict()
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    assert not torch.equal(
        after['backbone.conv1.conv.weight'], before['backbone.conv1.conv.weight']
    )


def test_error_for_a_checkpoint_that_does_not_fit(run):
    _, config, checkpoint, _ = run
    cfg = Config.fromfile(config)
    cfg.model = copy.deepcopy(cfg.model)
    cfg.model.bbox_head.num_classes = 2
    cfg.load_from = checkpoint
    cfg.work_dir = f'{cfg.work_dir}_misfit'
    tester = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=r'bbox_head\.cls_convs.*has shape .* config'):
        tester.test()
