"""Budgets that a config may name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from adasap_det.registry import BUDGETS

from .channels import ChannelGroup
from .cost import CostModel, macs_cost, params_cost


class Budget:
    """What a pruned model may cost.

    Args:
        keep: Share of the dense model's cost that remains, in (0, 1).

    Raises:
        ValueError: If ``keep`` is outside (0, 1).
    """

    unit = ''

    def __init__(self, *, keep: float) -> None:
        if not 0 < keep < 1:
            raise ValueError(
                f'budget.keep is the share of the dense model that remains and must lie in '
                f'(0, 1), got {keep}'
            )
        self.keep = keep

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> CostModel:
        """The cost that this budget limits."""
        raise NotImplementedError


@BUDGETS.register_module()
class ParamsBudget(Budget):
    """Limits the number of parameters."""

    unit = 'parameters'

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> CostModel:
        return params_cost(model, groups)


@BUDGETS.register_module()
class MACsBudget(Budget):
    """Limits the multiply-accumulates of one picture."""

    unit = 'MACs'

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> CostModel:
        return macs_cost(model, groups, input_size=input_size)
