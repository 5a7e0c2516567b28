import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn

from adasap_det.hooks.run_checks import check_no_missed_steps
from adasap_det.hooks.schedule import PruningSchedule
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import count_params

from ..helpers.training_runs import HOOK, TinyNet, tiny_config, train


@pytest.mark.parametrize('prune_begin', [{'prune_begin': 0}, {'prune_begin': 0, 'by_epoch': False}])
def test_pruning_by_gradients_before_first_step_is_an_error(tmp_path, prune_begin):
    hook = {**HOOK, 'importance': {'type': 'TaylorImportance'}, **prune_begin}
    with pytest.raises(ValueError, match=r'TaylorImportance needs gradients.*raise prune_begin'):
        train(tiny_config(tmp_path, custom_hooks=[hook]))


def test_pruning_is_allowed_after_first_accumulated_step(tmp_path):
    hook = {**HOOK, 'importance': {'type': 'TaylorImportance'}, 'by_epoch': False, 'prune_begin': 1}
    wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.05}}
    cfg = tiny_config(
        tmp_path,
        custom_hooks=[hook],
        optim_wrapper={**wrapper, 'accumulative_counts': 3},
        train_cfg={'type': 'EpochBasedTrainLoop', 'max_epochs': 3},
    )
    assert count_params(train(cfg).model) <= 0.5 * count_params(TinyNet())


def test_sharpness_aware_wrappers_in_a_dict_are_an_error(tmp_path):
    def optimizer():
        return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)

    runner = Runner.from_cfg(tiny_config(tmp_path))
    runner.optim_wrapper = OptimWrapperDict(
        plain=OptimWrapper(optimizer()), aware=AdaSAPOptimWrapper(optimizer())
    )
    runner.param_schedulers = None
    with pytest.raises(ValueError, match=r'optim_wrapper\.aware is a AdaSAPOptimWrapper'):
        runner.train()


def test_missed_prune_steps_are_counted():
    schedule = PruningSchedule(adaptive_begin=0, prune_begin=10, prune_steps=3, prune_interval=5)
    for made, iteration in ((0, 10), (1, 11), (1, 15), (2, 16), (3, 21), (3, 99)):
        check_no_missed_steps(schedule, made=made, iteration=iteration)
    for made, iteration, words in (
        (0, 11, 'none of the 1 prune steps due by iteration 11'),
        (1, 16, '1 of the 2 prune steps'),
        (2, 99, '2 of the 3 prune steps'),
    ):
        with pytest.raises(ValueError, match=words):
            check_no_missed_steps(schedule, made=made, iteration=iteration)


@pytest.mark.parametrize('before', [[], [{**HOOK, 'prune_begin': 4}]])
def test_resuming_after_missed_prune_steps_is_an_error(tmp_path, before):
    """One that never had the hook, and one whose prune steps were scheduled later."""
    train(
        tiny_config(
            tmp_path / 'dense',
            custom_hooks=before,
            train_cfg={'type': 'EpochBasedTrainLoop', 'max_epochs': 6 if before else 3},
        )
    )
    cfg = tiny_config(tmp_path / 'run', resume=True)
    cfg.load_from = str(tmp_path / 'dense/epoch_3.pth')
    with pytest.raises(ValueError, match='made none of the 3 prune steps due by iteration 18'):
        train(cfg)
    cfg.resume = False
    assert count_params(train(cfg).model) <= 0.5 * count_params(TinyNet())
