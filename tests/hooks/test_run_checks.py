import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn

from adasap_det.checkpoint.structure import META_KEY
from adasap_det.hooks import PruningHook
from adasap_det.hooks.pruning_hook import STATE_KEY
from adasap_det.hooks.run_checks import check_no_missed_steps
from adasap_det.hooks.schedule import PruningSchedule
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import count_params

from ..helpers.training_runs import HOOK, TinyNet, tiny_config, train


@pytest.mark.parametrize('prune_begin', [{'prune_begin': 0}, {'prune_begin': 0, 'by_epoch': False}])
def test_a_cut_by_gradients_before_there_are_any_is_refused(tmp_path, prune_begin):
    hook = {**HOOK, 'importance': {'type': 'TaylorImportance'}, **prune_begin}
    with pytest.raises(ValueError, match=r'TaylorImportance needs gradients.*begin later'):
        train(tiny_config(tmp_path, custom_hooks=[hook]))


def test_it_may_come_right_after_the_first_accumulated_step(tmp_path):
    hook = {**HOOK, 'importance': {'type': 'TaylorImportance'}, 'by_epoch': False, 'prune_begin': 1}
    wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.05}}
    cfg = tiny_config(
        tmp_path,
        custom_hooks=[hook],
        optim_wrapper={**wrapper, 'accumulative_counts': 3},
        train_cfg={'type': 'EpochBasedTrainLoop', 'max_epochs': 3},
    )
    assert count_params(train(cfg).model) <= 0.5 * count_params(TinyNet())


def test_sharpness_aware_wrappers_in_a_dict_are_refused(tmp_path):
    def optimizer():
        return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)

    runner = Runner.from_cfg(tiny_config(tmp_path))
    runner.optim_wrapper = OptimWrapperDict(
        plain=OptimWrapper(optimizer()), aware=AdaSAPOptimWrapper(optimizer())
    )
    runner.param_schedulers = None
    with pytest.raises(ValueError, match=r'optim_wrapper\.aware is a AdaSAPOptimWrapper'):
        runner.train()


def test_missed_cuts_are_counted():
    schedule = PruningSchedule(adaptive_begin=0, prune_begin=10, prune_steps=3, prune_interval=5)
    for made, iteration in ((0, 10), (1, 11), (1, 15), (2, 16), (3, 21), (3, 99)):
        check_no_missed_steps(schedule, made=made, iteration=iteration)
    for made, iteration, words in (
        (0, 11, 'none of the 1 cuts due by iteration 11'),
        (1, 16, '1 of the 2 cuts'),
        (2, 99, '2 of the 3 cuts'),
    ):
        with pytest.raises(ValueError, match=words):
            check_no_missed_steps(schedule, made=made, iteration=iteration)


@pytest.mark.parametrize('before', [[], [{**HOOK, 'prune_begin': 4}]])
def test_a_run_resumed_past_its_cuts_is_refused(tmp_path, before):
    """One that never had the hook, and one whose cuts were to come later."""
    train(
        tiny_config(
            tmp_path / 'dense',
            custom_hooks=before,
            train_cfg={'type': 'EpochBasedTrainLoop', 'max_epochs': 6 if before else 3},
        )
    )
    cfg = tiny_config(tmp_path / 'run', resume=True)
    cfg.load_from = str(tmp_path / 'dense/epoch_3.pth')
    with pytest.raises(ValueError, match='made none of the 3 cuts due by iteration 18'):
        train(cfg)
    cfg.resume = False
    assert count_params(train(cfg).model) <= 0.5 * count_params(TinyNet())


@pytest.mark.parametrize('epoch', [1, 2, 4])  # before any cut, right before the first, after all
def test_a_checkpoint_of_an_older_version_is_resumed(tmp_path, epoch):
    """It says neither how many cuts it has made nor which dimensions lost channels."""
    whole = train(tiny_config(tmp_path / 'whole'))
    checkpoint = torch.load(tmp_path / f'whole/epoch_{epoch}.pth', weights_only=True)
    for key in ('sizes', 'cuts', 'observed'):
        del checkpoint[STATE_KEY][key]
    del checkpoint['meta'][META_KEY]['cut']
    checkpoint['state_dict']._metadata[''][META_KEY] = 1
    torch.save(checkpoint, tmp_path / 'older.pth')
    cfg = tiny_config(tmp_path / 'run', resume=True)
    cfg.load_from = str(tmp_path / 'older.pth')
    resumed = train(cfg)
    expected = whole.model.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in resumed.model.state_dict().items())
    kept = [next(h for h in r.hooks if isinstance(h, PruningHook)).kept for r in (whole, resumed)]
    assert kept[0] == kept[1]
