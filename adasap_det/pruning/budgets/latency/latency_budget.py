"""The latency budget that a config may name."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn

from adasap_det.pruning.budgets.base import Budget
from adasap_det.pruning.budgets.quantity import MILLISECONDS
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import BUDGETS
from adasap_det.utils.dist import broadcast_from_rank0

from .knapsack import select_by_knapsack
from .latency_cost import LatencyCost
from .lookup import latency_cost
from .network_timing import Forward, time_left
from .table import LatencyTable, open_table

CHECKS = 3
"""Times at most that a choice is timed and, where that was not as predicted, made again."""

TOLERANCE = 0.02


@BUDGETS.register_module()
class LatencyBudget(Budget):
    """Limits the time of a forward pass on the device at hand.

    The layers' times are measured once, over their numbers of channels, and kept on disk. What
    is cut solves a knapsack of importance and latency, HALP's. What it chose is timed beside the
    model as it is; where the prediction was off, it is corrected and the knapsack solved again.
    Decoding and NMS are not counted. Set ``round_to`` to 8 or more: kernels work on so many
    channels at a time.

    Args:
        keep_ratio, max_cost: See :class:`~adasap_det.pruning.budgets.base.Budget`; units of
            ``max_cost``: ``s``, ``ms`` (default), ``us``.
        batch_size: Images at a time.
        device: Where to measure; by default where the model is.
        dtype: Of the forward pass, ``'float32'``, ``'bfloat16'`` or ``'float16'``.
        table: JSON file that keeps the times, by default one a device under ``~/.cache``.
        any_device: Take times of another device out of ``table``, to prune on this machine for
            that one; nothing is measured then.
        check: Whether to time what was chosen.

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
        self._measured: tuple[nn.Module, Forward] | None = None
        self._tables: dict[torch.device, tuple[LatencyTable, Path]] = {}

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> LatencyCost:
        own = next(model.parameters()).device
        device = own if self.device is None else torch.device(self.device)
        forward = Forward(input_size, self.batch_size, self.dtype, device)
        # Ranks that measured for themselves would cut differently.
        cost = broadcast_from_rank0(lambda: self._cost(model, groups, forward))
        self._measured = model, forward
        return cost

    def _cost(
        self, model: nn.Module, groups: Sequence[ChannelGroup], forward: Forward
    ) -> LatencyCost:
        """From the table, which is saved where layers had to be timed for it."""
        table, _ = self._open(forward.device)
        known = sum(map(len, table.grids.values())), len(table.networks)
        cost = latency_cost(model, groups, table, forward=forward, measure=not self.any_device)
        if (sum(map(len, table.grids.values())), len(table.networks)) != known:
            path = self._save(forward.device)
            print_log(f'Layers were timed; their times are kept in {path}', logger='current')
        return cost

    def select(
        self,
        groups: Sequence[ChannelGroup],
        scores: Sequence[Tensor],
        cost: LatencyCost,
        *,
        limit: float,
        **options: Any,
    ) -> dict[str, Tensor]:
        """The knapsack's choice for the model that the last ``cost_model`` was made of.

        Where the time measured is off, ``cost`` learns it. See
        :func:`~adasap_det.pruning.select_channels`.
        """

        def choose() -> dict[str, Tensor]:
            # A solver that runs out of time may stop elsewhere on another rank, and what is timed
            # next is one choice.
            return broadcast_from_rank0(
                lambda: select_by_knapsack(groups, scores, cost, limit=limit, **options)
            )

        kept = choose()
        if not self.check or self._measured is None:
            return kept
        model, forward = self._measured
        learned = False
        for attempt in range(1, CHECKS + 1):
            counts = {name: len(channels) for name, channels in kept.items()}
            if counts == cost.full:
                break
            # As a share of the model's own time at the same moment: the machine's speed drifts.
            share = broadcast_from_rank0(functools.partial(time_left, model, groups, kept, forward))
            predicted, measured = cost.cost(counts), share * cost.cost()
            print_log(
                f'Chosen for {self.written(limit)}: predicted {self.written(predicted)}, '
                f'measured {self.written(measured)}',
                logger='current',
            )
            cost.learn(counts, measured)
            learned = True
            if abs(measured / predicted - 1) <= TOLERANCE or attempt == CHECKS:
                break
            try:
                kept = choose()
            except ValueError as error:  # too late to refuse: training has begun
                print_log(f'As measured, {error}', logger='current', level=logging.WARNING)
                break
        if learned and is_main_process():
            self._save(forward.device)
        return kept

    def _save(self, device: torch.device) -> Path:
        table, path = self._open(device)
        table.save(path)
        return path

    def _open(self, device: torch.device) -> tuple[LatencyTable, Path]:
        """The table of a device, read once: every cut asks for its cost anew."""
        if device not in self._tables:
            self._tables[device] = open_table(self.path, device=device, any_device=self.any_device)
        return self._tables[device]
