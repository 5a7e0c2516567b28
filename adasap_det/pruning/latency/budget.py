"""The latency budget that a config may name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from torch import nn

from adasap_det.registry import BUDGETS

from ..budget_types import Budget
from ..channels import ChannelGroup
from ..quantity import MILLISECONDS
from .cost import LatencyCost
from .knapsack import select_by_knapsack
from .model import latency_cost
from .table import LatencyTable, open_table


@BUDGETS.register_module()
class LatencyBudget(Budget):
    """Limits the time of a forward pass on the device at hand.

    The layers' times are measured once, over their numbers of channels, and kept on disk. What
    is cut solves a knapsack of importance and latency, HALP's. Decoding and NMS are not counted.
    Set ``round_to`` to 8 or more: kernels work on so many channels at a time.

    Args:
        keep, at_most: See :class:`Budget`; units of ``at_most``: ``s``, ``ms`` (default), ``us``.
        batch_size: Pictures at a time.
        device: Where to measure; by default where the model is.
        dtype: Of the forward pass, ``'float32'``, ``'bfloat16'`` or ``'float16'``.
        table: JSON file that keeps the times, by default one a device under ``~/.cache``.
        any_device: Take times of another device out of ``table``, to prune on this machine for
            that one; nothing is measured then.

    Raises:
        ValueError: If an option is out of range; later, if ``table`` is of another device, or
            does not know the network where nothing may be measured.

    Source: HALP (Shen et al. 2022, arXiv 2110.10811).
    """

    unit = 'latency'
    units = MILLISECONDS
    select = staticmethod(select_by_knapsack)

    def __init__(
        self,
        *,
        keep: float | None = None,
        at_most: float | str | None = None,
        batch_size: int = 1,
        device: str | None = None,
        dtype: str = 'float32',
        table: str | None = None,
        any_device: bool = False,
    ) -> None:
        super().__init__(keep=keep, at_most=at_most)
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
        self._tables: dict[torch.device, tuple[LatencyTable, Path]] = {}

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> LatencyCost:
        own = next(model.parameters()).device
        device = own if self.device is None else torch.device(self.device)
        cost = None
        if is_main_process():
            table, path = self._open(device)
            known = sum(map(len, table.grids.values())), len(table.rest)
            cost = latency_cost(
                model,
                groups,
                table,
                input_size=input_size,
                batch_size=self.batch_size,
                dtype=self.dtype,
                device=device,
                measure=not self.any_device,
            )
            if (sum(map(len, table.grids.values())), len(table.rest)) != known:
                table.save(path)
                print_log(f'Layers were timed; their times are kept in {path}', logger='current')
        # Ranks that measured for themselves would cut differently.
        shared = [cost]
        broadcast_object_list(shared)
        assert shared[0] is not None
        return shared[0]

    def _open(self, device: torch.device) -> tuple[LatencyTable, Path]:
        """The table of a device, read once: every cut asks for its cost anew."""
        if device not in self._tables:
            self._tables[device] = open_table(self.path, device=device, any_device=self.any_device)
        return self._tables[device]
