"""Budgets that a config may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import BUDGETS

from .cost import macs_cost, params_cost
from .quantity import COUNTS, format_quantity, parse_quantity
from .selection import Cost, Prunable, possible_counts, select_channels


class LayeredCost(Cost, Protocol):
    """A cost that is a sum over layers."""

    def cost(self, kept: Mapping[str, int] | None = None) -> float:
        """Cost with ``kept`` channels by group name; of the model as it is where ``None``."""

    def by_layer(self, kept: Mapping[str, int] | None = None) -> dict[str, float]:
        """The same by name of the layer."""


class Budget:
    """What a pruned model may cost: a share of the dense model's cost, or an amount.

    Args:
        keep_ratio: Share of the dense model's cost that remains, in (0, 1).
        max_cost: Amount that may remain, a number or text with a unit, ``'3.5 M'``.

    Raises:
        ValueError: If not exactly one of the two is given, or it is out of range.
    """

    unit = ''
    units: Mapping[str, float] = COUNTS
    select: Callable[..., dict[str, Tensor]] = staticmethod(select_channels)
    """Chooses the channels that stay; see :func:`~adasap_det.pruning.select_channels`."""

    def __init__(
        self, *, keep_ratio: float | None = None, max_cost: float | str | None = None
    ) -> None:
        if (keep_ratio is None) == (max_cost is None):
            raise ValueError(
                f'a budget is either keep_ratio=<share of the dense model> or max_cost=<amount>, '
                f'got keep_ratio={keep_ratio!r} and max_cost={max_cost!r}'
            )
        if keep_ratio is not None and not 0 < keep_ratio < 1:
            raise ValueError(
                f'budget.keep_ratio is the share of the dense model that remains and must lie in '
                f'(0, 1), got {keep_ratio}'
            )
        self.keep_ratio = keep_ratio
        self.max_cost = (
            None
            if max_cost is None
            else parse_quantity(max_cost, self.units, name='budget.max_cost')
        )

    def limit(self, dense: float) -> float:
        """Largest cost allowed, where the dense model costs ``dense``."""
        return self.keep_ratio * dense if self.keep_ratio is not None else float(self.max_cost)  # type: ignore[arg-type]

    def __str__(self) -> str:
        if self.keep_ratio is not None:
            return f'keep_ratio={self.keep_ratio}'
        return f'max_cost={self.written(float(self.max_cost))!r}'  # type: ignore[arg-type]

    def written(self, amount: float) -> str:
        """An amount with its unit."""
        return format_quantity(amount, self.units)

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> LayeredCost:
        """The cost that this budget limits."""
        raise NotImplementedError


@BUDGETS.register_module()
class ParamsBudget(Budget):
    """Limits the number of parameters. Units of ``max_cost``: none, ``k``, ``M``, ``G``."""

    unit = 'parameters'

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> LayeredCost:
        return params_cost(model, groups)


@BUDGETS.register_module()
class MACsBudget(Budget):
    """Limits the multiply-accumulates of one image. Units as of parameters."""

    unit = 'MACs'

    def cost_model(
        self, model: nn.Module, groups: Sequence[ChannelGroup], *, input_size: tuple[int, int]
    ) -> LayeredCost:
        return macs_cost(model, groups, input_size=input_size)


def check_reachable(
    budget: Budget,
    cost: LayeredCost,
    groups: Sequence[Prunable],
    *,
    round_to: int,
    min_keep_ratio: float,
    skipped: Mapping[str, str] | None = None,
) -> None:
    """Refuse a budget that even the fewest channels allowed exceed, or that asks for no cut.

    Args:
        budget: The budget.
        cost: Its cost of the dense model.
        groups: The model's channel groups.
        round_to, min_keep_ratio: See :func:`~adasap_det.pruning.select_channels`.
        skipped: Reasons by layer that keep groups whole.

    Raises:
        ValueError: Says the least that can be reached and which layers hold it up.
    """
    if budget.limit(cost.cost()) >= cost.cost():
        raise ValueError(
            f'budget.{budget} leaves nothing to prune: the model as it is has '
            f'{budget.written(cost.cost())} {budget.unit}'
        )
    fewest = fewest_channels(groups, round_to=round_to, min_keep_ratio=min_keep_ratio)
    least, full = cost.cost(fewest), cost.cost()
    if least <= budget.limit(full):
        return
    layers = sorted(cost.by_layer(fewest).items(), key=lambda item: -item[1])[:3]
    held = '; '.join(
        f'{name} {budget.written(amount)}{_because(name, skipped or {})}' for name, amount in layers
    )
    raise ValueError(
        f'budget.{budget} cannot be reached: with the fewest channels allowed in every group, '
        f'{budget.written(least)} of {budget.written(full)} {budget.unit} remain '
        f'({least / full:.1%}), most of it in {held}. Exclude fewer layers, lower '
        f'min_keep_ratio={min_keep_ratio} or round_to={round_to}, or keep more'
    )


def fewest_channels(
    groups: Sequence[Prunable], *, round_to: int, min_keep_ratio: float
) -> dict[str, int]:
    """Fewest channels allowed in every group, by its name."""
    return {
        g.name: possible_counts(g, round_to=round_to, min_keep_ratio=min_keep_ratio)[-1]
        for g in groups
    }


def _because(layer: str, skipped: Mapping[str, str]) -> str:
    return f' ({skipped[layer]})' if layer in skipped else ''
