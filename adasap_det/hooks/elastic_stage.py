"""The elastic stage: passes without the least important channels, at a size drawn for each."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from scipy.stats import kendalltau
from torch import nn

from adasap_det.optim.optim_wrapper import SharpnessAwareMixin
from adasap_det.optim.removal import ChannelRemoval
from adasap_det.pruning.budgets.budget import fewest_channels
from adasap_det.pruning.elastic import ElasticSizes
from adasap_det.pruning.importance import Importance, TaylorImportance
from adasap_det.pruning.order import RemovalOrder
from adasap_det.pruning.pruner import Pruner
from adasap_det.utils.recalibration import running_norms

from .channel_rows import removal_rows
from .schedule import PruningSchedule
from .structure_hook import accumulative_counts, bare_model


@dataclass(frozen=True)
class ElasticOptions:
    """Options of the elastic stage.

    Attributes:
        sizes: What is drawn.
        order_interval: Steps between two renewals of the order.
        frozen_share: Share of the stage, at its end, in which the order is not renewed.
        per_cost: See :func:`~adasap_det.pruning.order.removal_order`.
        evaluate_keep_ratios: Sizes that are validated beside the whole network.
    """

    sizes: ElasticSizes
    order_interval: int = 10
    frozen_share: float = 0.25
    per_cost: bool = False
    evaluate_keep_ratios: tuple[float, ...] = ()

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> ElasticOptions:
        """Options as a config has them.

        Raises:
            ValueError: If one is unknown or out of range.
        """
        of_sizes = {'keep_ratio_range', 'whole_share', 'smallest_share'}
        own = set(inspect.signature(cls).parameters) - {'sizes'}
        unknown = sorted(set(options) - of_sizes - own)
        if unknown:
            raise ValueError(
                f'PruningHook.elastic has the unknown option {unknown[0]!r}; there are '
                f'{", ".join(sorted(of_sizes | own))}'
            )
        sizes = {name: value for name, value in options.items() if name in of_sizes}
        if 'keep_ratio_range' in sizes:
            sizes['keep_ratio_range'] = tuple(sizes['keep_ratio_range'])
        try:
            found = cls(
                ElasticSizes(**sizes), **{n: value for n, value in options.items() if n in own}
            )
        except ValueError as error:
            raise ValueError(f'PruningHook.{error}') from None
        if found.order_interval < 1:
            raise ValueError(
                f'PruningHook.elastic.order_interval must be at least 1, got {found.order_interval}'
            )
        if not 0 <= found.frozen_share <= 1:
            raise ValueError(
                f'PruningHook.elastic.frozen_share must lie in [0, 1], got {found.frozen_share}'
            )
        for ratio in found.evaluate_keep_ratios:
            if not 0 < ratio < 1:
                raise ValueError(
                    f'PruningHook.elastic.evaluate_keep_ratios must lie in (0, 1), got {ratio}; '
                    f'the whole network is validated in any case'
                )
        return found

    def with_seed(self, seed: int) -> ElasticOptions:
        return replace(self, sizes=replace(self.sizes, seed=seed))


def check_elastic(wrapper: OptimWrapper, options: ElasticOptions, *, perturbs: bool) -> None:
    """Check that an optimizer wrapper can go without channels in a pass.

    Args:
        wrapper: The optimizer wrapper.
        options: Of the stage.
        perturbs: Whether it has a pass at the real weights besides, in every step.

    Raises:
        ValueError: If not.
    """
    if not isinstance(wrapper, SharpnessAwareMixin):
        raise ValueError(
            f'PruningHook.elastic needs AdaSAPOptimWrapper, and optim_wrapper is a '
            f"{type(wrapper).__name__}; for plain steps use perturbation_before_pruning='plain'"
        )
    if wrapper.interval > 1:
        raise ValueError(
            f'optim_wrapper.interval={wrapper.interval} reuses what an earlier pass added to the '
            f'gradient, and with PruningHook.elastic each pass has other channels: use interval=1'
        )

    if not perturbs and not options.sizes.whole_share:
        raise ValueError(
            'PruningHook.elastic.whole_share=0 leaves no pass of the whole network, which batch '
            "norm's statistics and the importance come from with one pass a step: raise it"
        )


def average_an_epoch(
    importance: Importance, runner: Runner, options: ElasticOptions, *, perturbs: bool
) -> None:
    """Average Taylor importance over an epoch, unless its window is set.

    Args:
        importance: Any importance; others than Taylor's are left alone.
        runner: Of the run.
        options: Of the stage.
        perturbs: Whether every step has a pass at the real weights, which importance comes from.
    """
    if isinstance(importance, TaylorImportance) and importance.window is None:
        observed = 1.0 if perturbs else options.sizes.whole_share
        importance.window = math.ceil(observed * len(runner.train_dataloader))


def check_best_by_size(runner: Runner, *, begin: int, prune_steps: int) -> None:
    """Check that the metric of a smaller size exists whenever the best checkpoint is chosen by it.

    Args:
        runner: Of the run.
        begin: First iteration of the elastic stage.
        prune_steps: Prune steps that end it.

    Raises:
        ValueError: If not.
    """
    for hook in runner.hooks:
        wanted = getattr(hook, 'save_best', None) or []
        for name in [wanted] if isinstance(wanted, str) else wanted:
            if '_at_' in name and (begin or prune_steps):
                raise ValueError(
                    f'save_best={name!r} is only known during the elastic stage: use it with '
                    f'PruningHook.adaptive_begin=0 and prune_steps=0'
                )


def has_sync_bn(model: nn.Module) -> bool:
    """Whether batch norm takes its statistics from all ranks."""
    return any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


def begin_elastic_pass(runner: Runner, stage: ElasticStage, schedule: PruningSchedule) -> None:
    """Choose and log what the next pass of a run goes without; nothing outside of the stage."""
    if not schedule.adaptive_begin <= runner.iter < schedule.choice:
        stage.end()
        return
    counts = accumulative_counts(runner)
    step, index = divmod(runner.iter, counts)
    # Batch norm over all ranks needs one size on all of them.
    rank, ranks = (0, 1) if has_sync_bn(bare_model(runner)) else get_dist_info()
    place, places = index * ranks + rank, counts * ranks
    if not runner.optim_wrapper.perturbs:  # importance is of steps with the whole network alone
        place, places = 0, 1
    keep_ratio = stage.begin_pass(step, index=place, count=places)
    runner.message_hub.update_scalar('train/keep_ratio', keep_ratio)
    if stage.order_change is not None:
        runner.message_hub.update_scalar('train/order_tau', stage.order_change)


def make_elastic_stage(
    runner: Runner,
    pruner: Pruner,
    schedule: PruningSchedule,
    options: ElasticOptions,
    *,
    recalibrates: bool,
) -> ElasticStage:
    """The stage of a training run.

    Args:
        runner: Of the run.
        pruner: Of its model.
        schedule: Of the run, in iterations.
        options: Of the stage.
        recalibrates: Whether batch norm's statistics are re-estimated for each size.

    Raises:
        ValueError: If the least ratio or the pruner's budget cannot be reached, or the best
            checkpoint is chosen by a size that is not known all the time.
    """
    counts = accumulative_counts(runner)
    stage = ElasticStage(
        pruner,
        runner.optim_wrapper,
        options.with_seed(runner.seed or 0),
        begin=schedule.adaptive_begin // counts,
        end=schedule.choice // counts,
    )
    if schedule.prune_steps:
        stage.check_target()
    if options.evaluate_keep_ratios:
        begin, steps = schedule.adaptive_begin, schedule.prune_steps
        check_best_by_size(runner, begin=begin, prune_steps=steps)
        if not recalibrates and running_norms(pruner.model):
            print_log(
                'PruningHook.recalibrate_batches=0: smaller sizes are validated with the batch '
                'norm statistics of the whole network, which do not fit them; set it to 40',
                logger='current',
                level=logging.WARNING,
            )
    return stage


class ElasticStage:
    """Tells an optimizer wrapper before each pass which channels it goes without.

    Args:
        pruner: Of the model; its budget's unit is that of the sizes.
        wrapper: The optimizer wrapper.
        options: What is drawn and how often the order is renewed.
        begin, end: First step of the stage and the one after its last.

    Raises:
        ValueError: If the least ratio cannot be reached.

    Attributes:
        order: The order in which channels go, None before the importance knows anything.
        order_change: Kendall's tau of the order and the one before it, once there are two.
    """

    def __init__(
        self,
        pruner: Pruner,
        wrapper: SharpnessAwareMixin,
        options: ElasticOptions,
        *,
        begin: int,
        end: int,
    ) -> None:
        self.order: RemovalOrder | None = None
        self.order_change: float | None = None
        self._pruner = pruner
        self._wrapper = wrapper
        self._options = options
        self._frozen_from = end - round(options.frozen_share * (end - begin))
        self._warned = False
        self._renewed = -1  # in which step
        self._removal = ChannelRemoval(removal_rows(pruner.model, pruner.groups))
        self._cost = pruner.costs()['budget']
        self._check_least()
        self._log_approximate()

    def begin_pass(self, step: int, *, index: int = 0, count: int = 1) -> float:
        """Choose what the next pass goes without.

        Args:
            step: Number of the optimizer's step.
            index, count: Index of the pass, and number of passes of this step, over micro-batches
                and ranks.

        Returns:
            Ratio of the dense model's cost that is wanted of the pass; 1 for the whole network.
        """
        self._wrapper.removal = self._removal
        self._warn_of_fixed_statistics()
        self._renew(step)
        if self.order is None:
            return 1.0
        keep_ratio = self._options.sizes.draw(step, index=index, count=count)
        limit = keep_ratio * self._pruner.dense_costs['budget']
        self._removal.removed = self.order.steps_within(limit, self._cost)
        return keep_ratio

    def end(self) -> None:
        """Remove nothing any more."""
        self._wrapper.removal = None

    def sizes(self) -> Iterator[tuple[float, nn.Module]]:
        """Copies of the model, pruned to the sizes that are validated; none before an order."""
        order = self.order
        if order is None:
            return
        for ratio in self._options.evaluate_keep_ratios:
            limit = ratio * self._pruner.dense_costs['budget']
            yield ratio, self._pruner.sized(order, order.steps_within(limit, self._cost))

    def keep(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Drop the channels that a prune step has removed from the order.

        Args:
            kept: Channels that were kept, ascending, by group name.
        """
        if self.order is not None:
            self.order = self.order.within(kept)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {} if self.order is None else self.order.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of an earlier run.

        Raises:
            ValueError: If its order belongs to another network.
        """
        if state:
            self._set(RemovalOrder.from_state_dict(state, self._pruner.groups))

    def order_state(self) -> dict[str, Any]:
        """The order, and what sizes it was trained for, as JSON-able data."""
        return {
            **self.state_dict(),
            'keep_ratio_range': list(self._options.sizes.keep_ratio_range),
            'unit': self._pruner.budget.unit,
        }

    def _renew(self, step: int) -> None:
        due = step % self._options.order_interval == 0 and step < self._frozen_from
        if self.order is not None and (not due or step == self._renewed):
            return
        if not self._pruner.importance.known:
            return
        self._renewed = step
        before = self.order
        order = self._pruner.removal_order(per_cost=self._options.per_cost)
        if before is not None:
            self.order_change = float(kendalltau(_joined(before), _joined(order)).statistic)
        self._set(order)

    def _set(self, order: RemovalOrder) -> None:
        self.order = order
        self._removal.set_order(_joined(order))

    def _check_least(self) -> None:
        pruner = self._pruner
        fewest = fewest_channels(
            pruner.groups, round_to=pruner.round_to, min_keep_ratio=pruner.min_keep_ratio
        )
        least = self._cost.cost(fewest) / pruner.dense_costs['budget']
        for name, wanted in (
            ('keep_ratio_range', self._options.sizes.keep_ratio_range[0]),
            ('evaluate_keep_ratios', min(self._options.evaluate_keep_ratios, default=1.0)),
        ):
            if least > wanted:
                raise ValueError(
                    f'PruningHook.elastic.{name} has {wanted}, and the fewest channels allowed '
                    f'leave {least:.3f} of the {pruner.budget.unit}: raise it, lower '
                    f'min_keep_ratio={pruner.min_keep_ratio} or round_to={pruner.round_to}, or '
                    f'exclude fewer layers'
                )

    def _log_approximate(self) -> None:
        """Name what a pass without channels computes differently than the pruned network."""
        found = self._pruner.approximate
        if found:
            name, reason = next(iter(found.items()))
            print_log(
                f'Elastic stage: with {len(found)} of {len(self._pruner.groups)} channel groups a '
                f'pass without channels only approximates the pruned network ({name}: {reason})',
                logger='current',
            )

    def check_target(self) -> None:
        """Warn if the budget is below the sizes that are trained."""
        pruner, least = self._pruner, self._options.sizes.keep_ratio_range[0]
        dense = pruner.dense_costs['budget']
        if pruner.budget.limit(dense) < least * dense:
            print_log(
                f'The budget ({pruner.budget}) is below the sizes that the elastic stage trains: '
                f'PruningHook.elastic.keep_ratio_range begins at {least}',
                logger='current',
                level=logging.WARNING,
            )

    def _warn_of_fixed_statistics(self) -> None:
        """Batch norm with running statistics would train smaller networks with the whole one's."""
        if self._warned:
            return
        self._warned = True
        norms = running_norms(self._pruner.model)
        among = {name for group in self._pruner.groups for name in group.norms}
        fixed = [n for n, norm in norms.items() if n in among and not norm.training]
        if fixed:
            print_log(
                f'{len(fixed)} batch norm layers of channels that can go train with their running '
                f'statistics ({fixed[0]}, ...), which are those of the whole network, not of the '
                f'smaller ones: set norm_eval=False in the backbone',
                logger='current',
                level=logging.WARNING,
            )


def _joined(order: RemovalOrder) -> torch.Tensor:
    return torch.cat(list(order.ranks.values()))
