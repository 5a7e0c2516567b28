"""Budgets of parameters and of multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import BUDGETS

from .budget import Budget, Plan
from .cost import macs_cost, params_cost


@BUDGETS.register_module()
class ParamsBudget(Budget):
    """Limits the number of parameters.

    Args:
        keep_ratio: Ratio of the dense model's parameters that remains, in (0, 1).
        max_cost: Number of parameters that may remain, as ``3_500_000`` or ``'3.5 M'``. Units:
            none, ``k``, ``M``, ``G``.

    Raises:
        ValueError: If not exactly one of the two is given, or it is out of range.
    """

    unit = 'parameters'

    def plan(
        self,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        example_inputs: Tensor,
        blocks: Sequence[str] = (),
    ) -> Plan:
        return Plan(groups, params_cost(model, groups, blocks))


@BUDGETS.register_module()
class MACsBudget(Budget):
    """Limits the multiply-accumulates of one image, of convolutions and linear layers.

    Args:
        keep_ratio: Ratio of the dense model's MACs that remains, in (0, 1).
        max_cost: MACs that may remain, as ``'1.2 G'``. Units: none, ``k``, ``M``, ``G``.

    Raises:
        ValueError: If not exactly one of the two is given, or it is out of range.
    """

    unit = 'MACs'

    def plan(
        self,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        example_inputs: Tensor,
        blocks: Sequence[str] = (),
    ) -> Plan:
        return Plan(groups, macs_cost(model, groups, example_inputs, blocks))
