"""One pruner for every model: channel groups, importance and budget in one place."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Optimizer

from adasap_det.checkpoint.removed_blocks import is_inside, removed_blocks
from adasap_det.checkpoint.structure import describe, note_groups, shrink
from adasap_det.utils.copy_unwrapped import copy_unwrapped
from adasap_det.utils.dist import broadcast_from_rank0

from .budgets.budget import Budget, LayeredCost, Plan, check_reachable
from .budgets.cost import COUNTED, block_of, macs_cost, params_cost
from .budgets.knapsack import BlockChoice
from .graph.analysis import find_channel_groups
from .graph.channel_group import ChannelAnalysis, ChannelGroup
from .graph.residual_blocks import ResidualBlock, find_residual_blocks
from .importance import Importance
from .keep_ratios import kept_counts, match_keep_ratios
from .optimizer_state import check_optimizer
from .order import RemovalOrder, removal_order
from .surgery import drop_parameters, prune_selected

WIDTH = 100
"""Columns of the report."""


@dataclass(frozen=True)
class PruneResult:
    """What a prune step did, in the budget's unit.

    Attributes:
        limit: Largest cost allowed.
        cost: Cost after the step.
        dense: Cost of the dense model.
        kept: Channels that were kept, counted before the step, ascending, by group name.
    """

    limit: float
    cost: float
    dense: float
    kept: Mapping[str, Tensor] = field(compare=False, repr=False)


class Pruner:
    """Prunes a live model: it owns the channel groups, the importance and the budget.

    Works on detectors, classifiers and any other ``nn.Module``, without a Runner. Channels are
    really removed; parameters stay the same objects, and the state of the optimizers given shrinks
    with them::

        pruner = Pruner(model, torch.rand(1, 3, 224, 224), importance=TaylorImportance(),
                        budget=ParamsBudget(keep_ratio=0.4), optimizers=[optimizer])
        loss.backward()
        pruner.observe()                 # for an importance that needs gradients
        pruner.step(keep_ratio=0.7)      # part of the way, between two optimizer steps
        pruner.prune()                   # to the budget
        print(pruner.report())

    Args:
        model: The model, without a DDP wrapper, in any mode.
        example_inputs: One image, shape ``(1, 3, H, W)``, or another tensor that the model is
            called with. MACs and latency are those of this input.
        importance: Score of every channel.
        budget: Cost that may remain.
        exclude: Name patterns (``fnmatch``) of layers whose output channels are not pruned; a
            pattern also covers everything inside a module that it names. Output layers of the
            model need not be named.
        prunable_outputs: Name patterns of modules whose outputs may lose channels although the
            model returns them: feature maps beside its predictions, for instance.
        prune_blocks: Whether residual blocks and transformer layers may be removed as a whole.
            They are found by value, and chosen together with the channels. A block with a layer
            in ``exclude`` or ``keep_ratios`` stays.
        round_to: Channels left are multiples of this.
        min_keep_ratio: Ratio of each group's channels that always stays; at least one channel
            (one multiple of ``round_to``) stays in any case.
        keep_ratios: Ratio of the channels that remains in the end, in (0, 1], by name pattern of
            layers, as ``{'backbone.*': 0.7}``, rounded down to a possible number of channels. It
            goes for every group with a layer that matches, in place of ``min_keep_ratio``; the
            others share what the budget leaves.
        optimizers: Optimizers of the model's parameters; their state is pruned too.
        copies: Models of the same structure, for instance an exponential moving average, pruned
            alike.

    Attributes:
        groups: The channel groups of the model as it is now.
        skipped: Reason by layer, for layers whose channels cannot be pruned.
        permutation_error: Largest difference of the outputs, relative to their scale, with the
            groups' channels in another order, in float64: of rounding only.
        approximate: Reason by name of each group for which channels that are zero, in all their
            slices, differ from channels that are removed, a layer norm over them for instance.
        blocks: The blocks that may still be removed.
        observed: Whether the importance has seen gradients since the last prune step, and they
            were finite.

    Raises:
        ValueError: If an option is out of range, a pattern of ``exclude`` matches no layer, one of
            ``keep_ratios`` no group or one that another matches too, no channel of the model can
            be pruned, or an optimizer's state cannot be pruned.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Tensor,
        *,
        importance: Importance,
        budget: Budget,
        exclude: Sequence[str] = (),
        prunable_outputs: Sequence[str] = (),
        prune_blocks: bool = False,
        round_to: int = 1,
        min_keep_ratio: float = 0.1,
        keep_ratios: Mapping[str, float] | None = None,
        optimizers: Iterable[Optimizer] = (),
        copies: Iterable[nn.Module] = (),
    ) -> None:
        if round_to < 1:
            raise ValueError(f'round_to must be at least 1, got {round_to}')
        if not 0 <= min_keep_ratio < 1:
            raise ValueError(f'min_keep_ratio must lie in [0, 1), got {min_keep_ratio}')
        self.model = model
        self.example_inputs = example_inputs[:1]
        self.importance = importance
        self.budget = budget
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.prunable_outputs = (
            (prunable_outputs,) if isinstance(prunable_outputs, str) else tuple(prunable_outputs)
        )
        self.prune_blocks = prune_blocks
        self.round_to = round_to
        self.min_keep_ratio = min_keep_ratio
        self.keep_ratios = dict(keep_ratios or {})
        self.optimizers = tuple(optimizers)
        self.copies = tuple(copies)
        self._observed = False
        self.analyze()
        for optimizer in self.optimizers:
            check_optimizer(optimizer, model, self.groups)

    def analyze(self) -> ChannelAnalysis:
        """Find the channel groups and blocks again; the model as it is counts as the dense one.

        The constructor does so. To be called again only if something else has changed the model's
        structure.
        """
        analysis = find_channel_groups(
            self.model,
            self.example_inputs,
            exclude=self.exclude,
            prunable_outputs=self.prunable_outputs,
        )
        self.groups: list[ChannelGroup] = analysis.groups
        self.skipped: dict[str, str] = analysis.skipped
        self.permutation_error = analysis.permutation_error
        self.approximate: dict[str, str] = analysis.approximate
        self._ratios = match_keep_ratios(self.keep_ratios, self.groups, self.skipped)
        self.blocks: list[ResidualBlock] = []
        if self.prune_blocks:
            self.blocks = find_residual_blocks(
                self.model,
                self.example_inputs,
                self.groups,
                exclude=[*self.exclude, *self.keep_ratios],
            )
            names = ', '.join(block.name for block in self.blocks) or '(none)'
            print_log(f'Blocks that may be removed as a whole: {names}', logger='current')
        note_groups(self.model, {group.name: group.size for group in self.groups})
        self._dense: dict[str, float] = {}
        self._dense_sizes = {group.name: group.size for group in self.groups}
        self._dense_layers = _output_channels(self.model)
        return analysis

    def costs(self) -> dict[str, LayeredCost]:
        """Cost models of the model now, by ``budget`` (in its unit), ``params`` and ``macs``."""
        return {
            'budget': self._plan().cost,
            'params': params_cost(self.model, self.groups),
            'macs': macs_cost(self.model, self.groups, self.example_inputs),
        }

    @property
    def dense_costs(self) -> dict[str, float]:
        """Costs of the dense model, by ``budget`` (in its unit), ``params`` and ``macs``."""
        if not self._dense:  # nothing has been pruned yet
            self._dense = {name: cost.cost() for name, cost in self.costs().items()}
        return self._dense

    @property
    def is_dense(self) -> bool:
        """Whether nothing has been pruned since the model was analysed."""
        return (
            all(group.size == self._dense_sizes[group.name] for group in self.groups)
            and _output_channels(self.model).keys() == self._dense_layers.keys()
        )

    def _plan(self) -> Plan:
        options = {'blocks': [block.name for block in self.blocks]} if self.blocks else {}
        return self.budget.plan(self.model, self.groups, self.example_inputs, **options)

    @property
    def observed(self) -> bool:
        return self._observed and self.importance.known

    def copy(self) -> Pruner:
        """A pruner of a copy of the model as it is now, without its optimizers and copies."""
        _ = self.dense_costs  # once, not in each copy
        copied = copy.copy(self)
        copied.model = copy_unwrapped(self.model)
        copied.importance = copy.deepcopy(self.importance)
        copied.optimizers = copied.copies = ()
        return copied

    def sized(self, order: RemovalOrder, removed: int) -> nn.Module:
        """A copy of the model after so many steps of an order; the model stays as it is."""
        copied = copy_unwrapped(self.model)
        prune_selected(copied, self.groups, order.kept(removed))
        return copied

    # ------------------------------------------------------------------ pruning

    def observe(self) -> None:
        """Let the importance see the gradients of this step; call it before the optimizer's step.

        Only needed where ``importance.needs_gradients`` is true.
        """
        self.importance.observe(self.groups, self.model)
        self.importance.observe_blocks(self.blocks, self.model)
        self._observed = True

    def observe_losses(self, losses: Iterable[Tensor]) -> int:
        """Back-propagate losses and let the importance see their gradients, without training.

        Parameters that are frozen get gradients too, as their channels are pruned as well. The
        model has no gradients afterwards.

        Args:
            losses: Scalars, computed one after another by the iterable.

        Returns:
            Number of losses.
        """
        frozen = [p for p in self.model.parameters() if not p.requires_grad]
        count = 0
        with torch.enable_grad():
            try:
                for parameter in frozen:
                    parameter.requires_grad_(True)
                for loss in losses:
                    self.model.zero_grad(set_to_none=True)
                    loss.backward()
                    self.observe()
                    count += 1
            finally:
                for parameter in frozen:
                    parameter.requires_grad_(False)
                self.model.zero_grad(set_to_none=True)
        return count

    def check_budget(self) -> None:
        """Check that the budget asks for pruning and can be reached.

        Raises:
            ValueError: If not; see :func:`~adasap_det.pruning.budgets.budget.check_reachable`.
        """
        check_reachable(
            self.budget,
            self._plan().cost,
            self.groups,
            round_to=self.round_to,
            min_keep_ratio=self.min_keep_ratio,
            skipped=self.skipped,
            fixed=self._fixed_channels(done=1.0),
            blocks=[block.name for block in self.blocks],
        )

    def step(
        self, *, keep_ratio: float | None = None, max_cost: float | str | None = None
    ) -> PruneResult:
        """Remove the least important channels until a part of the way to the budget is gone.

        Args:
            keep_ratio: Ratio of the dense model's cost that remains, in (0, 1).
            max_cost: Amount that may remain, a number or text with a unit.

        Raises:
            ValueError: If not exactly one of the two is given, the target cannot be reached, or
                the importance needs gradients and has seen none since the last step.
        """
        target = self.budget.with_target(keep_ratio=keep_ratio, max_cost=max_cost)
        return self.prune_to(target.limit(self.dense_costs['budget']))

    def prune(self) -> PruneResult:
        """Remove the least important channels until the budget holds.

        Raises:
            ValueError: If the budget cannot be reached or asks for no pruning, or the importance
                needs gradients and has seen none since the last step. The model is unchanged then.
        """
        if self.is_dense:
            self.check_budget()
        return self.prune_to(self.budget.limit(self.dense_costs['budget']))

    def removal_order(self, *, per_cost: bool = False) -> RemovalOrder:
        """The order in which channels go, by what is known of their importance now.

        Args:
            per_cost: See :func:`~adasap_det.pruning.order.removal_order`.
        """
        return removal_order(
            self.groups,
            self.importance.scores(self.groups, self.model),
            self._plan().cost,
            round_to=self.round_to,
            min_keep_ratio=self.min_keep_ratio,
            dense_sizes=self._dense_sizes,
            per_cost=per_cost,
        )

    def prune_to(
        self,
        limit: float,
        *,
        order: RemovalOrder | None = None,
        kept: Mapping[str, Tensor] | None = None,
    ) -> PruneResult:
        """Remove the least important channels until the cost is at most ``limit``.

        Args:
            limit, order: See :meth:`select`.
            kept: What :meth:`select` returned for them before, while the model had the same
                channels; by default it selects now.

        Raises:
            ValueError: As :meth:`select`.
        """
        dense = self.dense_costs['budget']
        kept = self.select(limit, order=order) if kept is None else kept
        cost = self._plan().cost.cost({name: len(channels) for name, channels in kept.items()})
        groups = prune_selected(
            self.model, self.groups, kept, optimizers=self.optimizers, copies=self.copies
        )
        for group in self.groups:
            self.importance.keep(group, kept[group.name])
        self.groups = groups
        removed = [block.name for block in self.blocks if not kept[block.name].numel()]
        if removed:
            print_log(f'Removed blocks: {", ".join(removed)}', logger='current')
            self.blocks = [block for block in self.blocks if block.name not in removed]
            self.skipped, self.approximate = (
                {name: why for name, why in reasons.items() if not is_inside(name, removed)}
                for reasons in (self.skipped, self.approximate)
            )
        self._observed = False
        return PruneResult(limit, cost, dense, kept)

    def select(self, limit: float, *, order: RemovalOrder | None = None) -> dict[str, Tensor]:
        """The channels to keep, ascending, by group name, so that the cost is at most ``limit``.

        Where the limit has come a fraction of the way from the dense model's cost to the budget's,
        the ratios of ``keep_ratios`` have come the same fraction of the way from 1. Every rank
        gets what rank 0 selects.

        Args:
            limit: Largest cost allowed, in the budget's unit.
            order: Order in which channels go, in place of a selection by the importance.

        Raises:
            ValueError: If the limit cannot be reached, or without an order the importance needs
                gradients and has seen none since the last step.
        """
        plan = self._plan()
        if order is not None:
            followed = order
            return broadcast_from_rank0(
                lambda: followed.kept(followed.steps_within(limit, plan.cost))
            )
        if self.importance.needs_gradients and not self.observed:
            raise ValueError(
                f'{type(self.importance).__name__} needs gradients and has seen none since the '
                f'last prune step; call observe() after backward() first'
            )
        dense = self.dense_costs['budget']
        final = self.budget.limit(dense)
        done = min((dense - limit) / (dense - final), 1.0) if final < dense else 1.0
        scores = self.importance.scores(self.groups, self.model)
        selected = plan.select(
            scores,
            limit=limit,
            **({'blocks': self._block_choices(scores)} if self.blocks else {}),
            round_to=self.round_to,
            min_keep_ratio=self.min_keep_ratio,
            dense_sizes=self._dense_sizes,
            fixed=self._fixed_channels(done=done),
        )
        # Ranks that selected other channels would have other weights to average.
        return broadcast_from_rank0(lambda: selected)

    def _block_choices(self, scores: Sequence[Tensor]) -> list[BlockChoice]:
        of_blocks = self.importance.block_scores(self.blocks, self.groups, scores)
        return [
            BlockChoice(block.name, score, tuple(g.name for g in block.inner(self.groups)))
            for block, score in zip(self.blocks, of_blocks, strict=True)
        ]

    def _fixed_channels(self, *, done: float) -> dict[str, int]:
        return kept_counts(
            self.groups,
            self._ratios,
            dense_sizes=self._dense_sizes,
            done=done,
            round_to=self.round_to,
        )

    # ------------------------------------------------------------------ report and state

    def report(self) -> str:
        """A table of every layer: channels before and after, or why it was skipped.

        A block that was removed as a whole is one row.
        The lines below it have the parameters, the MACs and the budget's cost, dense and now.
        """
        table = Table(box=None, pad_edge=False)
        table.add_column('layer', overflow='fold')
        table.add_column('channels', justify='right')
        table.add_column('kept', justify='right')
        table.add_column('note', overflow='fold')
        in_group = {layer: group for group in self.groups for layer in group.layers}
        left = _output_channels(self.model)
        removed = removed_blocks(self.model)
        rows = [block_of(layer, removed) or layer for layer in self._dense_layers]
        for layer in dict.fromkeys(rows):
            if layer in removed:
                table.add_row(layer, '', '0%', f'removed with its {rows.count(layer)} layers')
                continue
            before, now = self._dense_layers[layer], left[layer]
            if layer in in_group:
                name = in_group[layer].name
                note = '' if name == layer else f'with {name}'
                table.add_row(layer, f'{before} -> {now}', f'{now / before:.0%}', note)
            else:
                reason = self.skipped.get(layer, 'computes no prunable channels')
                table.add_row(layer, f'{now}', '', f'skipped: {reason}')
        table.add_section()
        names = {'params': 'parameters', 'macs': 'MACs'}
        if self.budget.unit not in names.values():
            names['budget'] = self.budget.unit
        for key, cost in self.costs().items():
            if key in names:
                amounts = self.dense_costs[key], cost.cost()
                written = [
                    self.budget.format(amount) if key == 'budget' else f'{round(amount):,}'
                    for amount in amounts
                ]
                ratio = amounts[1] / amounts[0]
                table.add_row(names[key], ' -> '.join(written), f'{ratio:.1%}', '')
        console = Console(file=io.StringIO(), width=WIDTH, no_color=True)
        console.print(table)
        return console.file.getvalue()  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as tensors and plain data: structure, dense costs, scores."""
        return {
            'structure': describe(self.model),
            'dense_costs': dict(self._dense),
            'dense_sizes': dict(self._dense_sizes),
            'dense_layers': dict(self._dense_layers),
            'importance': self.importance.state_dict(),
            'observed': self._observed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume: shrink the model and its copies to the structure, and restore everything else.

        To be called on a pruner of the dense model, before the weights and the optimizers' state
        are loaded.

        Args:
            state: What :meth:`state_dict` returned.

        Raises:
            ValueError: If the structure does not fit the model.
        """
        before = list(self.model.parameters())
        if shrink(self.model, state['structure']):
            for each in self.copies:
                shrink(each, state['structure'])
            for optimizer in self.optimizers:
                drop_parameters(optimizer, before, self.model)
            self.analyze()
        self._dense = dict(state['dense_costs'])
        self._dense_sizes = {g.name: state['dense_sizes'].get(g.name, g.size) for g in self.groups}
        self._dense_layers = dict(state['dense_layers'])
        self.importance.load_state_dict(state['importance'])
        self._observed = bool(state['observed'])


def _output_channels(model: nn.Module) -> dict[str, int]:
    """Output channels of every convolution and linear layer, and queries of an attention."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):  # has no layers for its projections
            found[name] = module.num_heads * module.head_dim
        elif isinstance(module, COUNTED):
            found[name] = (
                module.out_features if isinstance(module, nn.Linear) else module.out_channels
            )
    return found
