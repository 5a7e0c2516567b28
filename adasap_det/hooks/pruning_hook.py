"""PruningHook: warm up, prune, make robust."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS, Registry
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from adasap_det.optim.grad_scaler import is_taken, unscaled_gradients
from adasap_det.optim.optim_wrapper import STAGES, SharpnessAwareMixin
from adasap_det.pruning.budgets.base import Budget, LayeredCost, check_reachable
from adasap_det.pruning.budgets.cost import macs_cost, params_cost
from adasap_det.pruning.graph.analysis import find_channel_groups
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.importance import Importance
from adasap_det.pruning.surgery import prune_channels
from adasap_det.registry import BUDGETS, IMPORTANCES
from adasap_det.utils.dist import broadcast_from_rank0
from adasap_det.utils.input_size import pipeline_input_size
from adasap_det.utils.validation import evaluate

from .channel_rows import channel_rows
from .run_checks import check_gradients_come_first, check_no_missed_steps, check_single_wrapper
from .schedule import PruningSchedule, make_schedule
from .size_report import measured_latency, report_size
from .structure_hook import StructureHook, averaged_models, bare_model, rewrap

STATE_KEY = 'adasap_det'
"""Where a checkpoint keeps what a resumed run needs beside the structure."""

AFTER_PRUNING = ('uniform', 'plain')
"""Perturbations that need no importance, which is not observed after the last cut."""


@HOOKS.register_module()
class PruningHook(StructureHook):
    """Prunes the model in training, on AdaSAP's three-stage schedule.

    With :class:`~adasap_det.optim.AdaSAPOptimWrapper` the stages are: plain steps up to
    ``adaptive_begin``; adaptive perturbation until the last cut; uniform perturbation to the end.
    With any other optimizer wrapper the same cuts are made between plain steps. Channels are
    really removed; the optimizer's state, EMA copies and DDP follow.

    Args:
        budget (dict): What remains, ``dict(type='ParamsBudget', keep_ratio=0.4)`` for 40 % of the
            dense model's parameters, ``'MACsBudget'`` or ``'LatencyBudget'``; ``max_cost='3 M'``
            or ``'8 ms'`` in place of ``keep`` for an amount.
        importance (dict): Score that sets the radii and chooses the cut:
            ``dict(type='MagnitudeImportance')`` (default), ``'TaylorImportance'``,
            ``'NormScaleImportance'``, ``'FPGMImportance'``, ``'LAMPImportance'``,
            ``'RandomImportance'`` or one's own.
        by_epoch (bool): Whether the two begins are epochs (default) or iterations.
        adaptive_begin (int): First epoch or iteration of the adaptive stage. Default 0.
        prune_begin (int): Epoch or iteration before which the first cut is made.
            Default 10, the paper's.
        prune_steps (int): Number of cuts; the cost falls exponentially. Default 30.
        prune_interval (int): Iterations between cuts. Default 30.
        round_to (int): Channels left are multiples of this. Default 1.
        min_keep_ratio (float): Share of each group's channels that always stays. Default 0.1; at
            least one channel (one multiple of ``round_to``) stays in any case.
        exclude (Sequence[str]): Name patterns of layers whose output channels all stay. Output
            layers of the model need not be named.
        input_size (tuple[int, int], optional): Height and width that MACs are counted at; by
            default the size that the training pipeline resizes to.
        evaluate_pruning (bool): Run the validation set right before the first and right after the
            last cut. Default False.
        measure_latency (bool): Time the network on one image at the start and after every cut,
            on the device that trains; logged as ``train/latency_measured_ms``. Takes a second or
            two each time. Default False.
        score_interval (int): Iterations between two looks at the importance for the radii.
            Default 1.
        perturbation_before_pruning (str): Perturbation from ``adaptive_begin`` to the last prune
            step: ``'adaptive'`` (default), and for ablations ``'uniform'``, ``'plain'`` (none) or
            ``'inverse'``, which perturbs the important channels more.
        perturbation_after_pruning (str): Perturbation from there on: ``'uniform'`` (default) or
            ``'plain'``.

    Raises:
        ValueError: Before training: if an option is unknown or out of range, the last cut comes
            after the end of training, the budget can't be reached with the layers excluded, the
            importance needs gradients before there are any, AdaSAP's wrappers stand in an
            OptimWrapperDict, or a resumed run has missed cuts. At the last cut: if such an
            importance has seen no gradient since the one before.

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
        round_to: int = 1,
        min_keep_ratio: float = 0.1,
        exclude: Sequence[str] = (),
        input_size: Sequence[int] | None = None,
        evaluate_pruning: bool = False,
        measure_latency: bool = False,
        score_interval: int = 1,
        perturbation_before_pruning: str = 'adaptive',
        perturbation_after_pruning: str = 'uniform',
    ) -> None:
        super().__init__()
        self.budget: Budget = _build(BUDGETS, budget, 'budget')
        self.importance: Importance = _build(
            IMPORTANCES, importance or {'type': 'MagnitudeImportance'}, 'importance'
        )
        if round_to < 1:
            raise ValueError(f'PruningHook.round_to must be at least 1, got {round_to}')
        if not 0 <= min_keep_ratio < 1:
            raise ValueError(f'PruningHook.min_keep_ratio must lie in [0, 1), got {min_keep_ratio}')
        if score_interval < 1:
            raise ValueError(f'PruningHook.score_interval must be at least 1, got {score_interval}')
        for name, stage, known in (
            ('perturbation_before_pruning', perturbation_before_pruning, STAGES),
            ('perturbation_after_pruning', perturbation_after_pruning, AFTER_PRUNING),
        ):
            if stage not in known:
                raise ValueError(f'PruningHook.{name} must be one of {known}, got {stage!r}')
        self._perturbation = {
            'plain': 'plain',
            'adaptive': perturbation_before_pruning,
            'uniform': perturbation_after_pruning,
        }
        self.by_epoch = by_epoch
        self.adaptive_begin = adaptive_begin
        self.prune_begin = prune_begin
        self.prune_steps = prune_steps
        self.prune_interval = prune_interval
        self.round_to = round_to
        self.min_keep_ratio = min_keep_ratio
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self._input_size = None if input_size is None else (int(input_size[0]), int(input_size[1]))
        self.evaluate_pruning = evaluate_pruning
        self.measure_latency = measure_latency
        self.score_interval = score_interval

        self.groups: list[ChannelGroup] = []
        self._kept_whole: dict[str, str] = {}
        self._schedule: PruningSchedule | None = None
        self._dense: dict[str, float] = {}  # cost, params, macs of the dense model
        self._sizes: dict[str, int] = {}  # channels by group when this run began
        self._cuts = 0  # cuts made, or left to the next
        self._observed = False  # any gradient since the last cut
        self._scores: list[Tensor] | None = None
        self._resumed: dict[str, Any] | None = None
        self._stage_logged = False

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that MACs are counted at; known once a training run has begun."""
        if self._input_size is None:
            raise RuntimeError('PruningHook has no input size before a training run begins')
        return self._input_size

    @property
    def schedule(self) -> PruningSchedule:
        """The stages in iterations; known once a training run has begun."""
        if self._schedule is None:
            raise RuntimeError('PruningHook has no schedule before a training run begins')
        return self._schedule

    # ------------------------------------------------------------------ before training

    def before_run(self, runner: Runner) -> None:
        if not isinstance(runner._train_loop, BaseLoop):  # validation or test only
            return
        # Said now, before weights are fetched and data is read: a run that can't end well.
        check_single_wrapper(runner.optim_wrapper)
        self._schedule = self._make_schedule(runner)
        if not runner._resume:  # or it may be past that
            check_gradients_come_first(self.importance, self.schedule)
        self._analyse(runner)
        # FlexibleRunner has loaded a checkpoint by now: no budget is a share of a pruned model.
        if self._resumed is None:
            self._check_reachable(bare_model(runner))

    def before_train(self, runner: Runner) -> None:
        if not self.groups:  # the model took another structure from a checkpoint meanwhile
            self._analyse(runner)
        costs = self._costs(bare_model(runner))
        for group in self.groups:
            if len(self.kept.get(group.name, ())) != group.size:  # not in the checkpoint
                self.kept[group.name] = list(range(group.size))
                self.dense_channels[group.name] = group.size
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            self._take_up(resumed, runner)
        else:
            self._dense = {name: cost.cost() for name, cost in costs.items()}
            self._sizes = {g.name: g.size for g in self.groups}
        check_no_missed_steps(self.schedule, made=self._cuts, iteration=runner.iter)
        self._update_wrapper(runner)
        if self.importance.needs_gradients:
            for optimizer in _optimizers(runner):
                optimizer.register_step_pre_hook(self._observer(runner))
        self._log_size(runner, costs, 'Start')

    def shrink_all(self, runner: Runner, structure: Mapping[str, Any]) -> None:
        super().shrink_all(runner, structure)
        self.groups = []

    def _make_schedule(self, runner: Runner) -> PruningSchedule:
        return make_schedule(
            by_epoch=self.by_epoch,
            adaptive_begin=self.adaptive_begin,
            prune_begin=self.prune_begin,
            prune_steps=self.prune_steps,
            prune_interval=self.prune_interval,
            iters_per_epoch=len(runner.train_dataloader),
            max_iters=runner.max_iters,
            accumulative_counts=getattr(runner.optim_wrapper, '_accumulative_counts', 1),
        )

    def _analyse(self, runner: Runner) -> None:
        if self._input_size is None:
            self._input_size = pipeline_input_size(runner.cfg)
        analysis = find_channel_groups(
            bare_model(runner), input_size=self.input_size, exclude=self.exclude
        )
        self.groups = analysis.groups
        self._kept_whole = analysis.skipped

    def _check_reachable(self, model: nn.Module) -> None:
        try:
            check_reachable(
                self.budget,
                self.budget.cost_model(model, self.groups, input_size=self.input_size),
                self.groups,
                round_to=self.round_to,
                min_keep_ratio=self.min_keep_ratio,
                skipped=self._kept_whole,
            )
        except ValueError as error:
            raise ValueError(f'PruningHook.{error}') from None

    # ------------------------------------------------------------------ training

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        cut = self.schedule.prune_step_before(runner.iter)
        if cut is not None:
            if self._may_choose(cut):
                self._cut(runner, cut)
            self._cuts = cut + 1
        if isinstance(runner.optim_wrapper, SharpnessAwareMixin):
            self._set_stage(runner, runner.optim_wrapper)

    def _set_stage(self, runner: Runner, wrapper: SharpnessAwareMixin) -> None:
        stage = self._perturbation[self.schedule.stage(runner.iter)]
        if stage != wrapper.stage or not self._stage_logged:
            self._stage_logged = True
            print_log(f'AdaSAP stage {stage!r} from iteration {runner.iter}', logger='current')
        wrapper.stage = stage
        runner.message_hub.update_scalar('train/stage', STAGES.index(stage))
        rho = {'plain': 0.0, 'uniform': float(wrapper.rho)}.get(stage)
        if rho is None:
            if self._scores is None or runner.iter % self.score_interval == 0:
                self._scores = self.importance.scores(self.groups, bare_model(runner))
            rho = float(wrapper.set_scores(torch.cat(self._scores)).mean())
        runner.message_hub.update_scalar('train/rho_mean', rho)

    def _may_choose(self, cut: int) -> bool:
        """Whether the importance knows anything; a cut it doesn't is left to the next one."""
        if self._observed or not self.importance.needs_gradients:
            return True
        message = (
            f'Cut {cut + 1}/{self.prune_steps}: {type(self.importance).__name__} has seen no '
            f'gradient yet, or none since the last cut; a gradient scaler skips steps that overflow'
        )
        if cut == self.prune_steps - 1:
            raise ValueError(
                f'{message}. Raise PruningHook.prune_begin={self.prune_begin} or '
                f'prune_interval={self.prune_interval}'
            )
        print_log(
            f'{message}. The next cut makes up for it', logger='current', level=logging.WARNING
        )
        return False

    def _cut(self, runner: Runner, cut: int) -> None:
        if self.evaluate_pruning and all(g.size == self._sizes[g.name] for g in self.groups):
            self._evaluate(runner, 'before the cut')
        model = bare_model(runner)
        final = self.budget.limit(self._dense['cost'])
        chosen = self.budget.select(
            self.groups,
            self.importance.scores(self.groups, model),
            self.budget.cost_model(model, self.groups, input_size=self.input_size),
            limit=self.schedule.limit_after(cut, dense=self._dense['cost'], final=final),
            round_to=self.round_to,
            min_keep_ratio=self.min_keep_ratio,
            dense_sizes=self._sizes,
        )
        # Ranks that chose otherwise would have other weights to average.
        kept = broadcast_from_rank0(lambda: chosen)
        for group in self.groups:
            self.importance.keep(group, kept[group.name])
            self.kept[group.name] = [self.kept[group.name][i] for i in kept[group.name].tolist()]
        self.groups = prune_channels(
            model,
            self.groups,
            kept,
            optimizers=_optimizers(runner),
            copies=averaged_models(runner),
        )
        self._scores = None
        self._observed = False
        rewrap(runner)
        self._update_wrapper(runner)
        costs = self._costs(model)
        self._log_size(runner, costs, f'Cut {cut + 1}/{self.prune_steps}')
        if cut == self.prune_steps - 1:
            print_log(
                f'Budget: asked for at most {self.budget.written(final)} {self.budget.unit}, '
                f'reached {self.budget.written(costs["cost"].cost())}',
                logger='current',
            )
        if self.evaluate_pruning and cut == self.prune_steps - 1:
            self._evaluate(runner, 'after the cut')

    def _update_wrapper(self, runner: Runner) -> None:
        if isinstance(runner.optim_wrapper, SharpnessAwareMixin):
            runner.optim_wrapper.set_channels(channel_rows(bare_model(runner), self.groups))

    def _observer(self, runner: Runner) -> Any:
        def observe(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if runner.iter < self.schedule.last_prune_step and is_taken(optimizer):
                with unscaled_gradients(optimizer):
                    self.importance.observe(self.groups, bare_model(runner))
                self._observed = True

        return observe

    # ------------------------------------------------------------------ checkpoints

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        super().before_save_checkpoint(runner, checkpoint)
        checkpoint[STATE_KEY] = {
            'dense': dict(self._dense),
            'importance': self.importance.state_dict(),
            'scores': [score.cpu() for score in self._scores or []],
            'sizes': dict(self._sizes),
            'cuts': self._cuts,
            'observed': self._observed,
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        super().after_load_checkpoint(runner, checkpoint)
        if runner._resume and STATE_KEY in checkpoint:
            self._resumed = checkpoint[STATE_KEY]

    def _take_up(self, state: Mapping[str, Any], runner: Runner) -> None:
        self._dense = dict(state['dense'])
        self.importance.load_state_dict(state['importance'])
        self._scores = list(state['scores']) or None
        # Older checkpoints lack these. Their dense_channels are those of the run's beginning, and
        # a network that has been cut at all has been cut whenever it was due.
        sizes = state.get('sizes', self.dense_channels)
        self._sizes = {g.name: sizes.get(g.name, g.size) for g in self.groups}
        whole = all(g.size == self._sizes[g.name] for g in self.groups)
        due = 0 if whole else self.schedule.prune_steps_done(runner.iter)
        self._cuts = int(state.get('cuts', due))
        self._observed = bool(state.get('observed', True))

    # ------------------------------------------------------------------ what is told

    def _costs(self, model: nn.Module) -> dict[str, LayeredCost]:
        return {
            'cost': self.budget.cost_model(model, self.groups, input_size=self.input_size),
            'params': params_cost(model, self.groups),
            'macs': macs_cost(model, self.groups, input_size=self.input_size),
        }

    def _log_size(self, runner: Runner, costs: Mapping[str, LayeredCost], event: str) -> None:
        timed = self.measure_latency and runner.rank == 0
        report_size(
            runner.message_hub,
            event,
            groups=self.groups,
            costs=costs,
            dense=self._dense,
            budget=self.budget,
            measured=measured_latency(bare_model(runner), self.input_size) if timed else None,
        )

    def _evaluate(self, runner: Runner, when: str) -> None:
        """Metrics on the validation set, without the hooks that save best checkpoints."""
        loop = runner.val_loop
        if loop is None:
            print_log(f'No validation set to evaluate {when}', logger='current')
            return
        metrics = evaluate(
            runner.model, loop.dataloader, loop.evaluator, len(loop.dataloader.dataset)
        )
        listed = ', '.join(f'{name} {value}' for name, value in metrics.items())
        print_log(f'Evaluation {when}: {listed}', logger='current')
        key = when.replace(' ', '_')
        runner.visualizer.add_scalars(
            {f'{key}/{name}': value for name, value in metrics.items()}, step=runner.iter
        )


def _optimizers(runner: Runner) -> list[Optimizer]:
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        return [child.optimizer for child in wrapper.values()]
    return [wrapper.optimizer]


def _build(registry: Registry, cfg: Mapping[str, Any], key: str) -> Any:
    """Build from a registry, with an error that names the key and what there is."""
    options = dict(cfg)
    kind = options.pop('type', None)
    built = registry.get(kind) if isinstance(kind, str) else kind
    if not callable(built):
        raise ValueError(
            f'PruningHook.{key}.type={kind!r} is unknown; there are '
            f'{", ".join(sorted(registry.module_dict))}'
        )
    return built(**options)
