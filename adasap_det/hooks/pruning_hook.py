"""PruningHook: prunes the model in training, on AdaSAP's three-stage schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.optimizer_state import check_optimizer
from adasap_det.pruning.order import ORDER_KEY, RemovalOrder
from adasap_det.pruning.pruner import Pruner
from adasap_det.registry import BUDGETS, IMPORTANCES, build_registered
from adasap_det.utils.input_size import pipeline_input_size

from .elastic_stage import (
    ElasticOptions,
    ElasticStage,
    average_an_epoch,
    begin_elastic_pass,
    check_elastic,
    make_elastic_stage,
)
from .perturbation_stages import PerturbationStages
from .pruning_evaluation import add_size_metrics, log_evaluation
from .recalibration_hook import recalibrate_pruned, recalibrate_trained, register_recalibration
from .run_checks import (
    can_rank,
    check_gradients_come_first,
    check_no_missed_steps,
    check_options,
    check_single_wrapper,
)
from .schedule import PruningSchedule, make_schedule
from .size_report import report_pruner
from .soft_pruning import SoftPruning, make_soft_pruning
from .structure_hook import (
    StructureHook,
    accumulative_counts,
    averaged_models,
    bare_model,
    optimizers_of,
    renew_averages,
    rewrap,
)

STATE_KEY = 'adasap_det'
"""Key of a checkpoint under which a resumed run finds the pruner's state."""


@HOOKS.register_module()
class PruningHook(StructureHook):
    """Prunes the model in training, on AdaSAP's three-stage schedule.

    With :class:`~adasap_det.optim.AdaSAPOptimWrapper` the stages are: plain steps up to
    ``adaptive_begin``; adaptive perturbation until the last prune step; uniform perturbation to
    the end. With any other optimizer wrapper the same prune steps are made between plain steps.
    Channels are really removed; the optimizer's state, EMA copies and DDP follow. The work is done
    by a :class:`~adasap_det.pruning.Pruner`.

    Args:
        budget (dict): What remains, ``dict(type='ParamsBudget', keep_ratio=0.4)`` for 40 % of the
            dense model's parameters, ``'MACsBudget'`` or ``'LatencyBudget'``; ``max_cost='3 M'``
            or ``'8 ms'`` in place of ``keep_ratio`` for an amount.
        importance (dict): Score that sets the radii and ranks the channels:
            ``dict(type='MagnitudeImportance')`` (default), ``'TaylorImportance'``,
            ``'NormScaleImportance'``, ``'FPGMImportance'``, ``'LAMPImportance'``,
            ``'RandomImportance'`` or a registered class of your own.
        by_epoch (bool): Whether the two begins are epochs (default) or iterations.
        adaptive_begin (int): First epoch or iteration of the adaptive stage. Default 0.
        prune_begin (int): Epoch or iteration before which the first prune step is made.
            Default 10, the paper's.
        prune_steps (int): Number of prune steps; the cost falls exponentially. Default 30.
        prune_interval (int): Iterations between prune steps. Default 30.
        shrink_begin (int, optional): Soft pruning: epoch or iteration before which the channels
            that the one prune step will remove are chosen. From there on they shrink to zero, so
            that the step changes nothing. Needs ``prune_steps=1``. Default none: channels go as
            they are.
        prune_blocks (bool): Whether residual blocks and transformer layers may be removed as a
            whole; they are chosen together with the channels. Default False. See
            :class:`~adasap_det.pruning.Pruner`.
        round_to (int): Channels left are multiples of this. Default 1.
        min_keep_ratio (float): Ratio of each group's channels that always stays. Default 0.1; at
            least one channel (one multiple of ``round_to``) stays in any case.
        keep_ratios (dict[str, float], optional): Ratio of the channels that remains after the last
            prune step, in (0, 1], by name pattern of layers, as ``{'backbone.*': 0.7}``; in place
            of ``min_keep_ratio``. Other groups share what the budget leaves. See
            :class:`~adasap_det.pruning.Pruner`.
        exclude (Sequence[str]): Name patterns of layers whose output channels are not pruned.
            Output layers of the model need not be named.
        input_size (tuple[int, int], optional): Height and width that MACs are counted at; by
            default the size that the training pipeline resizes to.
        evaluate_pruning (bool): Run the validation set right before the first and right after the
            last prune step. Default False.
        recalibrate_batches (int): Training batches, for each rank, that batch norm's running
            statistics are re-estimated on before evaluations (of the dense network too), at the
            end of training, after the last prune step, and after every prune step if a layer
            trains with its running statistics (``norm_eval``), which are then the larger
            network's. Default 0, none: layers that train with the batch's statistics find new
            ones within some dozen iterations.
        measure_latency (bool): Time the network on one image at the start and after every prune
            step, on the device that trains; logged as ``train/latency_measured_ms``. Takes a
            second or two each time. Default False.
        score_interval (int): Iterations between two updates of the radii. Default 10.
        perturbation_before_pruning (str): Perturbation from ``adaptive_begin`` to the last prune
            step: ``'adaptive'`` (default), and for ablations ``'uniform'``, ``'plain'`` (none) or
            ``'inverse'``, which perturbs the important channels more.
        perturbation_after_pruning (str): Perturbation from there on: ``'uniform'`` (default) or
            ``'plain'``.
        elastic (dict, optional): Train all sizes at once: from ``adaptive_begin`` to the first
            prune step the pass at the perturbed weights goes without the least important channels,
            down to a size drawn for each pass. Afterwards the network can be pruned to any size.
            ``prune_steps=0`` leaves it whole, and of the budget only the unit counts. Options,
            ``dict()`` for the defaults: ``keep_ratio_range=(0.2, 1.0)``, ratios of the dense cost;
            ``whole_share=0.25``, passes in which nothing is removed; ``smallest_share=0.0``, those
            at the least ratio; ``order_interval=10``, steps between two renewals of the order in
            which channels go; ``frozen_share=0.25``, the last part of the stage, in which the order
            stays; ``per_cost=False``, importance alone, or for what a channel costs;
            ``evaluate_keep_ratios=()``, sizes that are validated beside the whole network, each
            metric under its name with ``_at_<ratio>`` (also for ``save_best``, with
            ``adaptive_begin=0`` and ``prune_steps=0``). Importance is averaged over an epoch.
            With ``perturbation_before_pruning='plain'`` a step has one pass; importance and batch
            norm's statistics are then those of the passes with the whole network. Default none.

    Raises:
        ValueError: Before training: if an option is unknown or out of range, the last prune step
            comes after the end of training, the budget can't be reached with the layers excluded,
            the importance needs gradients before there are any, the optimizer's state cannot be
            pruned, ``elastic`` meets ``prune_blocks``, ``keep_ratios`` or an ``interval`` of the
            wrapper, or its least ratio cannot be reached, AdaSAP's wrappers stand in an
            OptimWrapperDict, or a resumed run has missed prune steps. At the last prune step: if
            such an importance has seen no gradient since the one before.

    Source: AdaSAP (arXiv 2306.14306), the three-step procedure.
    """

    def __init__(
        self,
        *,
        budget: Mapping[str, Any],
        importance: Mapping[str, Any] | None = None,
        by_epoch: bool = True,
        adaptive_begin: int = 0,
        prune_begin: int = 10,
        prune_steps: int = 30,
        prune_interval: int = 30,
        shrink_begin: int | None = None,
        prune_blocks: bool = False,
        round_to: int = 1,
        min_keep_ratio: float = 0.1,
        keep_ratios: Mapping[str, float] | None = None,
        exclude: Sequence[str] = (),
        input_size: Sequence[int] | None = None,
        evaluate_pruning: bool = False,
        recalibrate_batches: int = 0,
        measure_latency: bool = False,
        score_interval: int = 10,
        perturbation_before_pruning: str = 'adaptive',
        perturbation_after_pruning: str = 'uniform',
        elastic: Mapping[str, Any] | None = None,
    ) -> None:
        self.budget = build_registered(BUDGETS, budget, 'PruningHook.budget')
        self.importance = build_registered(
            IMPORTANCES, importance or {'type': 'MagnitudeImportance'}, 'PruningHook.importance'
        )
        check_options(
            score_interval=score_interval,
            recalibrate_batches=recalibrate_batches,
            perturbation_before_pruning=perturbation_before_pruning,
            perturbation_after_pruning=perturbation_after_pruning,
            elastic=elastic,
            shrink_begin=shrink_begin,
            prune_blocks=prune_blocks,
            keep_ratios=keep_ratios,
        )
        self._perturbation = {
            'plain': 'plain',
            'adaptive': perturbation_before_pruning,
            'uniform': perturbation_after_pruning,
        }
        self.elastic = None if elastic is None else ElasticOptions.parse(elastic)
        self.by_epoch = by_epoch
        self.adaptive_begin = adaptive_begin
        self.prune_begin = prune_begin
        self.prune_steps = prune_steps
        self.prune_interval = prune_interval
        self.shrink_begin = shrink_begin
        self.prune_blocks = prune_blocks
        self.round_to = round_to
        self.min_keep_ratio = min_keep_ratio
        self.keep_ratios = keep_ratios
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.input_size = None if input_size is None else (int(input_size[0]), int(input_size[1]))
        self.evaluate_pruning = evaluate_pruning
        self.recalibrate_batches = recalibrate_batches
        self.measure_latency = measure_latency
        self.score_interval = score_interval

        self.pruner: Pruner | None = None
        self.schedule: PruningSchedule | None = None
        self._steps_done = 0  # prune steps made, or left to the next one
        self._stages: PerturbationStages | None = None
        self._elastic: ElasticStage | None = None
        self._soft: SoftPruning | None = None
        self._resumed: dict[str, Any] | None = None

    # ------------------------------------------------------------------ before training

    def before_run(self, runner: Runner) -> None:
        if not isinstance(runner._train_loop, BaseLoop):  # validation or test only
            return
        # Before weights are fetched and data is read: a run that cannot end well.
        check_single_wrapper(runner.optim_wrapper)
        if self.elastic is not None:
            perturbs = self._perturbation['adaptive'] != 'plain'
            check_elastic(runner.optim_wrapper, self.elastic, perturbs=perturbs)
            average_an_epoch(self.importance, runner, self.elastic, perturbs=perturbs)
        self.schedule = make_schedule(
            by_epoch=self.by_epoch,
            adaptive_begin=self.adaptive_begin,
            prune_begin=self.prune_begin,
            prune_steps=self.prune_steps,
            prune_interval=self.prune_interval,
            iters_per_epoch=len(runner.train_dataloader),
            max_iters=runner.max_iters,
            accumulative_counts=accumulative_counts(runner),
            least_steps=1 if self.elastic is None else 0,
            shrink_begin=self.shrink_begin,
        )
        if not runner._resume:  # a resumed run may be past its first prune step
            check_gradients_come_first(self.importance, self.schedule)
        if self.input_size is None:
            self.input_size = pipeline_input_size(runner.cfg)
        try:
            self.pruner = Pruner(
                bare_model(runner),
                example_image(self.input_size),
                importance=self.importance,
                budget=self.budget,
                exclude=self.exclude,
                prune_blocks=self.prune_blocks,
                round_to=self.round_to,
                min_keep_ratio=self.min_keep_ratio,
                keep_ratios=self.keep_ratios,
            )
            # FlexibleRunner has loaded a checkpoint by now: a resumed model is pruned already.
            if self._resumed is None and self.prune_steps:
                self.pruner.check_budget()
        except ValueError as error:
            raise ValueError(f'PruningHook.{error}') from None
        for optimizer in optimizers_of(runner):
            check_optimizer(optimizer, self.pruner.model, self.pruner.groups)
        register_recalibration(runner, self.pruner.model, batches=self.recalibrate_batches)

    def before_train(self, runner: Runner) -> None:
        pruner = self._pruner
        if self._structure_loaded:  # since the model was analysed
            pruner.analyze()
        pruner.optimizers = tuple(optimizers_of(runner))
        pruner.copies = tuple(averaged_models(runner))
        resumed, self._resumed = self._resumed or {}, None
        if resumed:
            pruner.load_state_dict(resumed['pruner'])
            self._steps_done = int(resumed['steps_done'])
        check_no_missed_steps(self._schedule, made=self._steps_done, iteration=runner.iter)
        self._stages = PerturbationStages(
            runner,
            pruner,
            self._schedule,
            perturbation=self._perturbation,
            score_interval=self.score_interval,
        )
        self._stages.load_state_dict(resumed.get('scores', []))
        if self.elastic is not None:
            self._elastic = make_elastic_stage(
                runner,
                pruner,
                self._schedule,
                self.elastic,
                recalibrates=self.recalibrate_batches > 0,
            )
            self._elastic.load_state_dict(resumed.get('elastic', {}))
        begin, end = self._schedule.shrink_begin, self._schedule.prune_begin
        if begin is not None and not self._steps_done:
            self._soft = make_soft_pruning(runner, pruner, begin=begin, end=end)
            self._soft.load_state_dict(resumed.get('soft', {}))
        self._log_size(runner, 'Start')

    # ------------------------------------------------------------------ training

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        step = self._schedule.prune_step_before(runner.iter)
        if step is not None:
            if can_rank(self._pruner, self._schedule, step, chosen=self._chosen):
                self._prune(runner, step)
            self._steps_done = step + 1
        if self._stages is not None:
            self._stages.begin_iteration()
        if self._elastic is not None:
            begin_elastic_pass(runner, self._elastic, self._schedule)
        if self._soft is not None:
            self._soft.begin_step(runner.iter // accumulative_counts(runner), self._order)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        step, index = divmod(runner.iter + 1, accumulative_counts(runner))
        if self._soft is not None and index == 0:
            self._soft.end_step(step - 1)

    def _prune(self, runner: Runner, step: int) -> None:
        pruner, schedule = self._pruner, self._schedule
        last = step == schedule.prune_steps - 1
        if self.evaluate_pruning and pruner.is_dense:
            recalibrate_trained(runner, self.recalibrate_batches)
            log_evaluation(runner, 'before pruning')
        dense = pruner.dense_costs['budget']
        final = self.budget.limit(dense)
        limit = schedule.limit_after(step, dense=dense, final=final)
        result = pruner.prune_to(
            limit, order=self._order, kept=None if self._soft is None else self._soft.kept
        )
        self._soft = None
        if self._elastic is not None:
            self._elastic.keep(result.kept)
        renew_averages(runner)
        rewrap(runner)
        if self._stages is not None:
            self._stages.renew()
        cost = self._log_size(runner, f'Prune step {step + 1}/{schedule.prune_steps}')
        recalibrate_pruned(runner, self.recalibrate_batches, last=last)
        if last:
            print_log(
                f'Budget: at most {self.budget.format(final)} {self.budget.unit} allowed, '
                f'{self.budget.format(cost)} reached',
                logger='current',
            )
            if self.evaluate_pruning:
                log_evaluation(runner, 'after pruning')

    # ------------------------------------------------------------------ validation

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the metrics of smaller sizes, for the logs and the choice of the best checkpoint."""
        if self._elastic is None or metrics is None or not self._pruner.is_dense:
            return
        add_size_metrics(runner, self._elastic.sizes(), metrics, batches=self.recalibrate_batches)

    # ------------------------------------------------------------------ checkpoints and logs

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        super().before_save_checkpoint(runner, checkpoint)
        checkpoint[STATE_KEY] = {
            'pruner': self._pruner.state_dict(),
            'scores': [] if self._stages is None else self._stages.state_dict(),
            'steps_done': self._steps_done,
        }
        if self._soft is not None:
            checkpoint[STATE_KEY]['soft'] = self._soft.state_dict()
        if self._elastic is not None:
            checkpoint[STATE_KEY]['elastic'] = self._elastic.state_dict()
            if self._order is not None and self._pruner.is_dense:
                checkpoint['meta'][ORDER_KEY] = self._elastic.order_state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        super().after_load_checkpoint(runner, checkpoint)
        if runner._resume and STATE_KEY in checkpoint:
            self._resumed = checkpoint[STATE_KEY]

    def _log_size(self, runner: Runner, event: str) -> float:
        """Log the size; returns the cost that the budget limits."""
        timed = self.measure_latency and runner.rank == 0
        return report_pruner(runner.message_hub, event, self._pruner, time=timed)

    @property
    def _order(self) -> RemovalOrder | None:
        return None if self._elastic is None else self._elastic.order

    @property
    def _chosen(self) -> bool:
        """Whether it is known which channels go, without asking the importance."""
        return self._order is not None or (self._soft is not None and self._soft.kept is not None)

    @property
    def _pruner(self) -> Pruner:
        if self.pruner is None:
            raise RuntimeError('PruningHook has no pruner before a training run begins')
        return self.pruner

    @property
    def _schedule(self) -> PruningSchedule:
        if self.schedule is None:
            raise RuntimeError('PruningHook has no schedule before a training run begins')
        return self.schedule
