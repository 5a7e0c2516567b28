import pytest
import torch
from mmengine.hooks import Hook

from adasap_det.hooks import PruningHook
from adasap_det.hooks.channel_rows import removal_rows
from adasap_det.hooks.soft_pruning import SoftPruning
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, Pruner, count_params
from adasap_det.utils.modules import eval_mode

from ..helpers.training_runs import HOOK, WRAPPER, TinyNet, tiny_config, train
from .test_pruning_hook import assert_resumed_equals_whole, run_with

SOFT = {
    **HOOK,
    'importance': {'type': 'TaylorImportance'},
    'prune_begin': 4,
    'prune_steps': 1,
    'shrink_begin': 1,
}


def hook_of(runner):
    return next(h for h in runner.hooks if isinstance(h, PruningHook))


class Watch(Hook):
    """Records the outputs right before and after the prune step, and the norm of what goes."""

    priority = 'LOWEST'

    def __init__(self):
        self.outputs, self.norms, self.params = {}, {}, {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._record(runner, runner.iter)
        self.params[runner.iter] = count_params(runner.model)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._record(runner, f'after {runner.iter}')
        soft = hook_of(runner)._soft
        if soft is not None and soft.kept is not None:
            groups = hook_of(runner).pruner.groups
            gone = torch.cat([~torch.isin(torch.arange(g.size), soft.kept[g.name]) for g in groups])
            gone = torch.cat([torch.zeros(1, dtype=torch.bool), gone])
            total = 0.0
            for parameter, along in removal_rows(runner.model, groups).items():
                for rows in along:
                    index = gone[rows.ball + 1].nonzero().flatten()
                    total += float(parameter.detach().index_select(rows.dim, index).abs().sum())
            self.norms[runner.iter] = total

    def _record(self, runner, when):
        model = runner.model
        with torch.no_grad(), eval_mode(model):
            self.outputs[when] = model(torch.ones(1, 3, 6, 6))


def soft_config(tmp_path, hook=SOFT, **changes):
    return tiny_config(tmp_path, custom_hooks=[{'type': 'RandomStateHook'}, hook], **changes)


@pytest.mark.parametrize(
    ('importance', 'optimizer'),
    [('TaylorImportance', 'SGD'), ('MagnitudeImportance', 'AdamW')],
)
def test_the_prune_step_changes_nothing(tmp_path, importance, optimizer):
    watch = Watch()
    hook = {**SOFT, 'importance': {'type': importance}}
    wrapper = {**WRAPPER, 'optimizer': {'type': optimizer, 'lr': 0.01}}
    runner = run_with(soft_config(tmp_path, hook, optim_wrapper=wrapper), watch)
    torch.testing.assert_close(watch.outputs[24], watch.outputs['after 23'])
    assert watch.params[23] > watch.params[24]
    assert count_params(runner.model) <= 0.5 * watch.params[0]
    assert list(watch.norms) == list(range(6, 24))
    assert watch.norms[23] == 0
    assert watch.norms[6] > watch.norms[14] > watch.norms[22] > 0


def test_with_an_average_of_the_weights_it_changes_nothing_either(tmp_path):
    cfg = soft_config(tmp_path)
    cfg.custom_hooks.append(dict(type='EMAHook', momentum=0.1))
    averages = {}

    class Averages(Hook):
        priority = 'LOWEST'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.record(runner, runner.iter)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.record(runner, f'after {runner.iter}')

        def record(self, runner, when):
            model = hook_of(runner).pruner.copies[0]
            with torch.no_grad(), eval_mode(model):
                averages[when] = model(torch.ones(1, 3, 6, 6))

    run_with(cfg, Averages())
    torch.testing.assert_close(averages[24], averages['after 23'])


@pytest.mark.parametrize('iteration', [8, 14, 30])
def test_resumed_run_equals_one_left_alone(tmp_path, iteration):
    assert_resumed_equals_whole(soft_config, tmp_path, iteration)


def test_elastic_stage_gives_the_choice_and_ends_where_shrinking_begins(tmp_path):
    removed = []

    class Removed(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            removal = runner.optim_wrapper.removal
            removed.append(0 if removal is None else removal.removed)

    hook = {**SOFT, 'shrink_begin': 2, 'elastic': {}}
    watch = Watch()
    runner = run_with(soft_config(tmp_path, hook), Removed(), watch)
    assert any(removed[:12]) and not any(removed[12:])
    torch.testing.assert_close(watch.outputs[24], watch.outputs['after 23'])
    assert count_params(runner.model) <= 0.5 * watch.params[0]


def test_a_choice_that_was_missed_is_made_up_for():
    """As in a run that is resumed after shrink_begin from a checkpoint without it."""
    model = TinyNet()
    pruner = Pruner(
        model,
        torch.rand(1, 3, 6, 6),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )
    soft = SoftPruning(pruner, (), limit=0.5 * count_params(model), begin=2, end=8)
    soft.begin_step(1, None)
    assert soft.kept is None
    soft.begin_step(5, None)
    for step in (5, 6, 7):
        soft.end_step(step)
    before = model.eval()(torch.ones(1, 3, 6, 6))
    pruner.prune_to(0.5 * count_params(model), kept=soft.kept)
    torch.testing.assert_close(model(torch.ones(1, 3, 6, 6)), before)


def test_rounding_to_micro_batches_leaves_steps_to_shrink_in(tmp_path):
    hook = {**SOFT, 'by_epoch': False, 'prune_begin': 3, 'shrink_begin': 1}
    wrapper = {**WRAPPER, 'accumulative_counts': 4}
    with pytest.raises(ValueError, match='fall on the same step of 4 micro-batches'):
        train(soft_config(tmp_path, hook, optim_wrapper=wrapper))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'prune_steps': 3}, 'set prune_steps=1, not 3'),
        ({'shrink_begin': 4}, 'shrink_begin=4 must lie between adaptive_begin=0 and prune_begin=4'),
        ({'shrink_begin': 0}, 'with shrink_begin=0 channels are chosen before any'),
        ({'prune_blocks': True}, 'leave out prune_blocks=True'),
    ],
)
def test_what_does_not_go_together(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(soft_config(tmp_path, {**SOFT, **changes}))
