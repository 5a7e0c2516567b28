import logging

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from adasap_det.hooks import PruningHook
from adasap_det.hooks.elastic_stage import ElasticOptions, ElasticStage
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, Pruner, count_params
from adasap_det.pruning.order import ORDER_KEY, RemovalOrder

from ..helpers.toy import GroupNormNet
from ..helpers.training_runs import HOOK, WRAPPER, tiny_config, train
from .test_pruning_hook import assert_resumed_equals_whole, run_with

ELASTIC = {**HOOK, 'importance': {'type': 'TaylorImportance'}, 'elastic': {'order_interval': 3}}
ONLY_ELASTIC = {**ELASTIC, 'prune_steps': 0}


class Watch(Hook):
    """Records, at every iteration, the size that is wanted and how much is removed."""

    priority = 'LOWEST'

    def __init__(self):
        self.wanted, self.removed, self.orders, self.stages = [], [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        scalars = runner.message_hub.log_scalars
        wanted = scalars.get('train/keep_ratio')
        self.wanted.append(None if wanted is None else wanted.current())
        removal = runner.optim_wrapper.removal
        self.removed.append(0 if removal is None else removal.removed)
        hook = next(h for h in runner.hooks if isinstance(h, PruningHook))
        self.orders.append(None if hook._order is None else hook._order.state_dict())
        self.stages.append(runner.optim_wrapper.stage)


def elastic_config(tmp_path, hook=ELASTIC, **changes):
    return tiny_config(tmp_path, custom_hooks=[{'type': 'RandomStateHook'}, hook], **changes)


def test_sizes_are_drawn_until_the_first_prune_step(tmp_path):
    watch = Watch()
    run_with(elastic_config(tmp_path), watch)
    assert watch.removed[0] == 0  # nothing is known yet
    assert any(watch.removed[1:12])
    assert watch.removed[12:] == [0] * 24
    drawn = watch.wanted[1:12]
    assert len(set(drawn)) > 5
    assert all(0.2 <= ratio <= 1 for ratio in drawn)
    for ratio, removed in zip(drawn, watch.removed[1:12], strict=True):
        assert (removed == 0) == (ratio == 1)


def test_order_is_renewed_every_few_steps_and_frozen_at_the_end(tmp_path):
    watch = Watch()
    run_with(elastic_config(tmp_path), watch)
    changes = [i for i in range(2, 12) if watch.orders[i]['ranks'] != watch.orders[i - 1]['ranks']]
    assert set(changes) <= {3, 6}  # 9 is in the last quarter of 12
    assert watch.orders[0] is None
    assert watch.orders[1] is not None


def test_prune_steps_follow_the_order(tmp_path):
    watch = Watch()
    runner = run_with(elastic_config(tmp_path), watch)
    hook = next(h for h in runner.hooks if isinstance(h, PruningHook))
    order = RemovalOrder(
        {n: torch.tensor(r) for n, r in watch.orders[11]['ranks'].items()},
        watch.orders[11]['steps'],
    )
    kept = hook.pruner.state_dict()['structure']['kept']
    removed = min(min(order.ranks[n][channels].tolist()) for n, channels in kept.items())
    assert {n: k.tolist() for n, k in order.kept(removed).items()} == kept
    dense = hook.pruner.dense_costs['params']
    assert count_params(runner.model) <= 0.5 * dense


def test_without_prune_steps_the_network_stays_whole_and_the_stage_lasts_to_the_end(tmp_path):
    watch = Watch()
    runner = run_with(elastic_config(tmp_path, ONLY_ELASTIC), watch)
    assert count_params(runner.model) == count_params(Runner.from_cfg(
        tiny_config(tmp_path / 'other', custom_hooks=[])
    ).model)  # fmt: skip
    assert set(watch.stages) == {'adaptive'}
    assert any(watch.removed[25:])


def test_checkpoint_has_the_order_and_its_range(tmp_path):
    hook = {**ONLY_ELASTIC, 'elastic': {'keep_ratio_range': [0.3, 0.9]}}
    runner = train(elastic_config(tmp_path, hook))
    checkpoint = torch.load(tmp_path / 'epoch_6.pth', weights_only=True)
    stored = checkpoint['meta'][ORDER_KEY]
    assert stored['keep_ratio_range'] == [0.3, 0.9]
    assert stored['unit'] == 'parameters'
    pruner = next(h for h in runner.hooks if isinstance(h, PruningHook)).pruner
    order = RemovalOrder.from_state_dict(stored, pruner.groups)
    dense = count_params(runner.model)
    copied = Pruner(
        runner.model,
        pruner.example_inputs,
        importance=pruner.importance,
        budget=pruner.budget,
    )
    copied.prune_to(0.4 * dense, order=order)
    assert count_params(runner.model) <= 0.4 * dense


def test_a_stage_that_begins_later_removes_from_there_on(tmp_path):
    watch = Watch()
    run_with(elastic_config(tmp_path, {**ONLY_ELASTIC, 'adaptive_begin': 1}), watch)
    assert watch.removed[:6] == [0] * 6
    for ratio, removed in zip(watch.wanted[6:], watch.removed[6:], strict=True):
        assert (removed == 0) == (ratio == 1)
    assert any(watch.removed[6:12])


@pytest.mark.parametrize('iteration', [8, 13])
def test_resumed_run_equals_one_left_alone(tmp_path, iteration):
    assert_resumed_equals_whole(elastic_config, tmp_path, iteration)


def test_micro_batches_of_a_step_have_different_sizes(tmp_path):
    watch = Watch()
    wrapper = {**WRAPPER, 'accumulative_counts': 3}
    run_with(elastic_config(tmp_path, ONLY_ELASTIC, optim_wrapper=wrapper), watch)
    for start in range(3, 36, 3):
        ratios = sorted(watch.wanted[start : start + 3])
        assert ratios[0] < 0.8  # a third of the passes, at most a quarter of them whole
        assert len(set(ratios)) == 3


@pytest.mark.parametrize('counts', [1, 3])
def test_one_pass_form_observes_importance_in_steps_with_the_whole_network(tmp_path, counts):
    watch = Watch()
    hook = {
        **ONLY_ELASTIC,
        'perturbation_before_pruning': 'plain',
        'elastic': {'whole_share': 0.5},
    }
    wrapper = {**WRAPPER, 'accumulative_counts': counts}
    runner = run_with(elastic_config(tmp_path, hook, optim_wrapper=wrapper), watch)
    importance = next(h for h in runner.hooks if isinstance(h, PruningHook)).importance
    assert importance.window == 3  # of an epoch of six iterations half are whole
    expected = 0.0
    for start in range(0, 36, counts):
        removed = watch.removed[start : start + counts]
        assert len(set(removed)) == 1  # one size for all micro-batches of a step
        expected = expected if removed[0] else expected * (1 - 1 / 3) + 1
    assert float(next(iter(importance._steps.values()))) == pytest.approx(expected)
    assert 0 < sum(removed == 0 for removed in watch.removed) < 36


def test_best_checkpoint_by_a_size_that_is_not_always_known_is_refused(tmp_path):
    hook = {**ELASTIC, 'elastic': {'evaluate_keep_ratios': [0.5]}}
    cfg = elastic_config(tmp_path, hook)
    cfg.default_hooks.checkpoint.save_best = 'accuracy_at_0.5'
    with pytest.raises(ValueError, match=r"save_best='accuracy_at_0\.5' is only known during"):
        train(cfg)


@pytest.mark.parametrize(
    ('hook', 'wrapper', 'message'),
    [
        ({'elastic': {'ratio': 1}}, {}, "unknown option 'ratio'; there are evaluate_"),
        ({'elastic': {'order_interval': 0}}, {}, 'elastic.order_interval must be at least 1'),
        ({'elastic': {'frozen_share': 2}}, {}, 'elastic.frozen_share must lie in'),
        ({'elastic': {'keep_ratio_range': [0.9, 0.2]}}, {}, 'elastic.keep_ratio_range is'),
        ({'elastic': {'evaluate_keep_ratios': [1.0]}}, {}, 'in .0, 1., got 1.0; the whole'),
        ({'keep_ratios': {'inner': 0.5}}, {}, 'one order of all groups; leave out keep_ratios'),
        ({'prune_blocks': True}, {}, 'leave out prune_blocks'),
        (
            {'elastic': {'keep_ratio_range': [0.01, 1]}},
            {},
            'keep_ratio_range has 0.01, and',
        ),
        ({'elastic': {'evaluate_keep_ratios': [0.01]}}, {}, 'evaluate_keep_ratios has 0.01, and'),
        (
            {'elastic': {'whole_share': 0.0}, 'perturbation_before_pruning': 'plain'},
            {},
            'whole_share=0 leaves no pass of the whole network',
        ),
        ({'prune_steps': 0, 'shrink_begin': 1}, {}, 'set prune_steps=1, not 0'),
        ({'prune_steps': 0, 'adaptive_begin': 50}, {}, 'adaptive_begin=50 comes after the end'),
        ({'adaptive_begin': 2}, {}, 'elastic has no iteration: adaptive_begin=2'),
        ({}, {'interval': 2}, 'interval=2 reuses'),
        ({}, {'type': 'OptimWrapper', 'rho': None, 'rho_max': None}, 'needs AdaSAPOptimWrapper'),
    ],
)
def test_what_does_not_go_together(tmp_path, hook, wrapper, message):
    options = {k: v for k, v in (WRAPPER | wrapper).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        train(elastic_config(tmp_path, ELASTIC | hook, optim_wrapper=options))


def test_smaller_sizes_are_validated_and_can_choose_the_best_checkpoint(tmp_path):
    found = []

    class Metrics(Hook):
        priority = 'LOWEST'

        def after_val_epoch(self, runner, metrics=None):
            hook = next(h for h in runner.hooks if isinstance(h, PruningHook))
            found.append((dict(metrics), {r: count_params(m) for r, m in hook._elastic.sizes()}))

    hook = {
        **ONLY_ELASTIC,
        'elastic': {'evaluate_keep_ratios': [0.5, 0.3]},
        'recalibrate_batches': 2,
    }
    cfg = elastic_config(tmp_path, hook)
    cfg.default_hooks.checkpoint.save_best = 'accuracy_at_0.3'
    runner = run_with(cfg, Metrics())
    metrics, sizes = found[-1]
    assert set(metrics) == {'accuracy', 'accuracy_at_0.5', 'accuracy_at_0.3'}
    dense = count_params(runner.model)
    assert sizes[0.3] <= 0.3 * dense < sizes[0.5] <= 0.5 * dense
    logged = runner.message_hub.get_scalar('val/accuracy_at_0.3').current()
    assert logged == metrics['accuracy_at_0.3']
    best = max(each['accuracy_at_0.3'] for each, _ in found)
    stored = torch.load(next(tmp_path.glob('best_accuracy_at_0.3*')), weights_only=True)
    assert stored['message_hub']['runtime_info']['best_score'] == best


def test_order_of_another_network_is_refused(tmp_path):
    train(elastic_config(tmp_path, ONLY_ELASTIC))
    checkpoint = torch.load(tmp_path / 'epoch_6.pth', weights_only=True)
    name = next(iter(checkpoint['adasap_det']['elastic']['ranks']))
    checkpoint['adasap_det']['elastic']['ranks'][name] = [0]
    torch.save(checkpoint, tmp_path / 'epoch_6.pth')
    cfg = elastic_config(tmp_path, ONLY_ELASTIC)
    cfg.resume, cfg.train_cfg.max_epochs = True, 7
    with pytest.raises(ValueError, match='order of removal belongs to another network'):
        train(cfg)


def messages_of(cfg, *hooks):
    """What a run logs as a warning."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.logger.addHandler(handler)
    runner.train()
    return messages


def test_fixed_statistics_are_warned_of(tmp_path):
    class NormEval(Hook):
        priority = 'VERY_HIGH'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            runner.model.bn.eval()

    messages = messages_of(elastic_config(tmp_path, ONLY_ELASTIC), NormEval())
    found = [message for message in messages if 'of channels that can go train' in message]
    assert len(found) == 1
    assert found[0].startswith('1 batch norm layers of channels')


def test_approximate_groups_are_named():
    model = GroupNormNet()
    pruner = Pruner(
        model,
        torch.rand(1, 3, 8, 8),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
        min_keep_ratio=0.0,
    )
    wrapper = AdaSAPOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    logger = MMLogger.get_instance('approximate')
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    ElasticStage(
        pruner, wrapper, ElasticOptions.parse({'keep_ratio_range': [0.5, 1]}), begin=0, end=9
    )
    (found,) = [message for message in messages if 'approximates' in message]
    assert 'with 1 of 1 channel groups' in found
    assert 'group_norm' in found


def test_sizes_validated_with_statistics_of_the_whole_network_are_warned_of(tmp_path):
    hook = {**ONLY_ELASTIC, 'elastic': {'evaluate_keep_ratios': [0.5]}}
    messages = messages_of(elastic_config(tmp_path, hook))
    assert any('which do not fit them; set it to 40' in message for message in messages)


def test_a_budget_below_the_trained_sizes_is_warned_of(tmp_path):
    hook = {**ELASTIC, 'elastic': {'keep_ratio_range': [0.6, 1.0]}}
    messages = messages_of(elastic_config(tmp_path, hook))
    assert any('keep_ratio=0.5) is below the sizes that the elastic' in m for m in messages)


def test_defaults():
    options = ElasticOptions.parse({})
    assert options.sizes.keep_ratio_range == (0.2, 1.0)
    assert (options.order_interval, options.frozen_share) == (10, 0.25)
