"""The budget of measured latency."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn

from adasap_det.pruning.budgets.budget import Budget, Plan
from adasap_det.pruning.budgets.knapsack import BlockChoice, select_by_knapsack
from adasap_det.pruning.budgets.quantity import MILLISECONDS
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import BUDGETS
from adasap_det.utils.dist import broadcast_from_rank0

from .latency_cost import LatencyCost
from .lookup import latency_cost
from .network_timing import Forward, time_left
from .table import LatencyTable, open_table

CHECKS = 3
"""Largest number of selections that are timed; a new one follows where the time was off."""

TOLERANCE = 0.02


@BUDGETS.register_module()
class LatencyBudget(Budget):
    """Limits the time of a forward pass on the device at hand.

    The layers' times are measured once, over their numbers of channels, and kept on disk. The
    channels to keep solve HALP's knapsack of importance and latency. The selection is timed beside
    the unpruned model; where the prediction was off, it is corrected and the knapsack solved again.
    Decoding and NMS are not counted. Set ``round_to`` to 8 or more: kernels process that many
    channels at a time.

    Args:
        keep_ratio: Ratio of the dense model's latency that remains, in (0, 1).
        max_cost: Latency that may remain, as ``'8 ms'``. Units: ``s``, ``ms`` (default), ``us``.
        batch_size: Images at a time.
        device: Where to measure; by default where the model is.
        dtype: Of the forward pass, ``'float32'``, ``'bfloat16'`` or ``'float16'``.
        table: JSON file that keeps the times, by default one a device under ``~/.cache``.
        any_device: Use a ``table`` of another device, to prune on this machine for that one;
            nothing is measured then.
        check: Whether to time the selection.

    Raises:
        ValueError: If an option is out of range; later, if ``table`` is of another device, or
            does not know the network where nothing may be measured.

    Source: HALP (Shen et al. 2022, arXiv 2110.10811).
    """

    unit = 'latency'
    units = MILLISECONDS

    def __init__(
        self,
        *,
        keep_ratio: float | None = None,
        max_cost: float | str | None = None,
        batch_size: int = 1,
        device: str | None = None,
        dtype: str = 'float32',
        table: str | None = None,
        any_device: bool = False,
        check: bool = True,
    ) -> None:
        super().__init__(keep_ratio=keep_ratio, max_cost=max_cost)
        if batch_size < 1:
            raise ValueError(f'budget.batch_size must be at least 1, got {batch_size}')
        if dtype not in ('float32', 'bfloat16', 'float16'):
            raise ValueError(
                f"budget.dtype must be 'float32', 'bfloat16' or 'float16', got {dtype!r}"
            )
        self.batch_size = batch_size
        self.device = device
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.path = None if table is None else Path(table)
        self.any_device = any_device
        self.check = check and not any_device

    def plan(
        self,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        example_inputs: Tensor,
        blocks: Sequence[str] = (),
    ) -> LatencyPlan:
        own = next(model.parameters()).device
        device = own if self.device is None else torch.device(self.device)
        forward = Forward(example_inputs, self.batch_size, self.dtype, device)
        table, path = open_table(self.path, device=device, any_device=self.any_device)

        def measure() -> LatencyCost:
            known = _entries(table)
            cost = latency_cost(
                model, groups, table, forward=forward, measure=not self.any_device, blocks=blocks
            )
            if _entries(table) != known:
                table.save(path)
                print_log(f'Measured layers; their times are kept in {path}', logger='current')
            return cost

        # Ranks that measured separately would prune differently.
        cost = broadcast_from_rank0(measure)
        return LatencyPlan(groups, cost, self, model, forward, table, path)


@dataclass
class LatencyPlan(Plan):
    """A plan whose selection solves a knapsack and is timed beside the unpruned model.

    Attributes:
        cost: Predicted milliseconds; corrected by what :meth:`select` measures.
        budget: The budget, for its settings.
        model: The model as it is.
        forward: The forward pass whose time counts.
        table, path: Times of the device and the file that keeps them.
    """

    cost: LatencyCost
    budget: LatencyBudget
    model: nn.Module
    forward: Forward
    table: LatencyTable
    path: Path

    def select(
        self,
        scores: Sequence[Tensor],
        *,
        limit: float,
        blocks: Sequence[BlockChoice] = (),
        **options: Any,
    ) -> dict[str, Tensor]:
        def solve() -> dict[str, Tensor]:
            # A solver that runs out of time may stop elsewhere on another rank, and all ranks
            # must time the same selection.
            return broadcast_from_rank0(
                lambda: select_by_knapsack(
                    self.groups, scores, self.cost, limit=limit, blocks=blocks, **options
                )
            )

        kept = solve()
        if not self.budget.check:
            return kept
        learned = False
        for attempt in range(1, CHECKS + 1):
            counts = {name: len(channels) for name, channels in kept.items()}
            if counts == self.cost.full:
                break
            # As a ratio to the model's own time at the same moment: the machine's speed drifts.
            ratio = broadcast_from_rank0(
                functools.partial(time_left, self.model, self.groups, kept, self.forward)
            )
            predicted, measured = self.cost.cost(counts), ratio * self.cost.cost()
            print_log(
                f'Selected for {self.budget.format(limit)}: predicted '
                f'{self.budget.format(predicted)}, measured {self.budget.format(measured)}',
                logger='current',
            )
            self.cost.learn(counts, measured)
            learned = True
            if abs(measured / predicted - 1) <= TOLERANCE or attempt == CHECKS:
                break
            try:
                kept = solve()
            except ValueError as error:  # too late for an error: training has begun
                print_log(f'As measured, {error}', logger='current', level=logging.WARNING)
                break
        if learned and is_main_process():
            self.table.save(self.path)
        return kept


def _entries(table: LatencyTable) -> tuple[int, int]:
    return sum(map(len, table.grids.values())), len(table.networks)
