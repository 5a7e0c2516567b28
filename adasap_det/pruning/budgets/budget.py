"""What a pruned model may cost, and the plan that meets it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup

from .knapsack import BlockChoice, GroupedCost, select_by_knapsack
from .quantity import COUNTS, format_quantity, parse_quantity
from .selection import Prunable, possible_counts, select_channels


class LayeredCost(GroupedCost, Protocol):
    """A cost that is a sum over layers."""

    def cost(self, kept: Mapping[str, int] | None = None) -> float:
        """Cost with ``kept`` channels by group or block; of the model as it is where ``None``."""

    def by_layer(self, kept: Mapping[str, int] | None = None) -> dict[str, float]:
        """The same by name of the layer."""


@dataclass
class Plan:
    """The cost of one model in a budget's unit, and the selection of channels that meets it.

    Attributes:
        groups: The model's channel groups.
        cost: Cost as a function of the channels that each group keeps.
    """

    groups: Sequence[ChannelGroup]
    cost: LayeredCost

    def select(
        self,
        scores: Sequence[Tensor],
        *,
        limit: float,
        blocks: Sequence[BlockChoice] = (),
        **options: Any,
    ) -> dict[str, Tensor]:
        """Channels to keep so that the cost is at most ``limit``, ascending, by group name.

        Args:
            scores: Importance of each group's channels, shape ``(size,)``.
            limit: Largest cost allowed.
            blocks: Blocks that may go as a whole; with any, channels and blocks are chosen in one
                integer program, and the result has an element or none for each block too.
            **options: See :func:`~adasap_det.pruning.select_channels`.

        Raises:
            ValueError: If even the fewest channels allowed cost more.
        """
        if blocks:
            return select_by_knapsack(
                self.groups, scores, self.cost, limit=limit, blocks=blocks, **options
            )
        return select_channels(self.groups, scores, self.cost, limit=limit, **options)


class Budget:
    """What a pruned model may cost: a ratio of the dense model's cost, or an amount.

    Args:
        keep_ratio: Ratio of the dense model's cost that remains, in (0, 1).
        max_cost: Amount that may remain, a number or text with a unit, ``'3.5 M'``.

    Raises:
        ValueError: If not exactly one of the two is given, or it is out of range.
    """

    unit = ''
    units: Mapping[str, float] = COUNTS

    def __init__(
        self, *, keep_ratio: float | None = None, max_cost: float | str | None = None
    ) -> None:
        if (keep_ratio is None) == (max_cost is None):
            raise ValueError(
                f'a budget is either keep_ratio=<ratio of the dense cost> or max_cost=<amount>, '
                f'got keep_ratio={keep_ratio!r} and max_cost={max_cost!r}'
            )
        if keep_ratio is not None and not 0 < keep_ratio < 1:
            raise ValueError(
                f'budget.keep_ratio is the ratio of the dense cost that remains and must lie in '
                f'(0, 1), got {keep_ratio}'
            )
        self.keep_ratio = keep_ratio
        self.max_cost = (
            None
            if max_cost is None
            else parse_quantity(max_cost, self.units, name='budget.max_cost')
        )

    def with_target(
        self, *, keep_ratio: float | None = None, max_cost: float | str | None = None
    ) -> Budget:
        """The same budget with another target; arguments and errors as of the class."""
        other = copy.copy(self)
        Budget.__init__(other, keep_ratio=keep_ratio, max_cost=max_cost)
        return other

    def limit(self, dense: float) -> float:
        """Largest cost allowed, where the dense model costs ``dense``."""
        if self.keep_ratio is not None:
            return self.keep_ratio * dense
        return float(self.max_cost)  # type: ignore[arg-type]

    def __str__(self) -> str:
        if self.keep_ratio is not None:
            return f'keep_ratio={self.keep_ratio}'
        return f'max_cost={self.format(float(self.max_cost))!r}'  # type: ignore[arg-type]

    def format(self, amount: float) -> str:
        """An amount with its unit."""
        return format_quantity(amount, self.units)

    def plan(
        self,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        example_inputs: Tensor,
        blocks: Sequence[str] = (),
    ) -> Plan:
        """The cost and the selection for a model as it is now.

        Args:
            model: The model that ``groups`` were found in; it is not changed.
            groups: Its channel groups.
            example_inputs: One image, shape ``(1, 3, H, W)``, or what else the model takes.
            blocks: Names of the blocks that may be removed as a whole.
        """
        raise NotImplementedError


def check_reachable(
    budget: Budget,
    cost: LayeredCost,
    groups: Sequence[Prunable],
    *,
    round_to: int,
    min_keep_ratio: float,
    skipped: Mapping[str, str] | None = None,
    fixed: Mapping[str, int] | None = None,
    blocks: Sequence[str] = (),
) -> None:
    """Check that a budget asks for pruning and that the fewest channels allowed meet it.

    Args:
        budget: The budget.
        cost: Its cost of the dense model.
        groups: The model's channel groups.
        round_to, min_keep_ratio: See :func:`~adasap_det.pruning.select_channels`.
        skipped: Reasons by layer for which channels are not pruned.
        fixed: Channels by name of the groups in ``keep_ratios``. With any, a budget that the dense
            model meets is no error.
        blocks: Names of the blocks that may be removed as a whole.

    Raises:
        ValueError: If not. Names the least cost that can be reached and the most expensive layers.
    """
    fixed = fixed or {}
    if budget.limit(cost.cost()) >= cost.cost() and not fixed:
        raise ValueError(
            f'budget.{budget} leaves nothing to prune: the unpruned model has '
            f'{budget.format(cost.cost())} {budget.unit}'
        )
    fewest = fewest_channels(groups, round_to=round_to, min_keep_ratio=min_keep_ratio)
    fewest.update(fixed)
    fewest.update(dict.fromkeys(blocks, 0))
    least, full = cost.cost(fewest), cost.cost()
    if least <= budget.limit(full):
        return
    layers = sorted(cost.by_layer(fewest).items(), key=lambda item: -item[1])[:3]
    largest = '; '.join(
        f'{name} {budget.format(amount)}{_reason(name, skipped or {})}' for name, amount in layers
    )
    scope, lower = ('every other group', 'keep_ratios, ') if fixed else ('every group', '')
    raise ValueError(
        f'budget.{budget} cannot be reached: with {"keep_ratios and " if fixed else ""}the fewest '
        f'channels allowed in {scope}, '
        f'{budget.format(least)} of {budget.format(full)} {budget.unit} remain '
        f'({least / full:.1%}), most of it in {largest}. Exclude fewer layers, lower '
        f'{lower}min_keep_ratio={min_keep_ratio} or round_to={round_to}, or raise the budget'
    )


def fewest_channels(
    groups: Sequence[Prunable], *, round_to: int, min_keep_ratio: float
) -> dict[str, int]:
    """Fewest channels allowed in every group, by its name."""
    return {
        g.name: possible_counts(g, round_to=round_to, min_keep_ratio=min_keep_ratio)[-1]
        for g in groups
    }


def _reason(layer: str, skipped: Mapping[str, str]) -> str:
    return f' ({skipped[layer]})' if layer in skipped else ''
