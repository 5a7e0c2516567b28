"""The elastic stage in a plain PyTorch loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from adasap_det.optim.optim_wrapper import AdaSAPOptimWrapper
from adasap_det.pruning.importance import TaylorImportance
from adasap_det.pruning.order import RemovalOrder
from adasap_det.pruning.pruner import Pruner

from .channel_rows import channel_rows
from .elastic_stage import ElasticOptions, ElasticStage

SCORE_INTERVAL = 10
"""Steps between two updates of the radii."""


class ElasticTraining:
    """Trains all sizes of a network at once, without MMEngine's Runner.

    Each step computes the loss twice: at the weights, and at perturbed weights without the least
    important channels; the second gradient is the step's. Afterwards the network can be pruned to
    any size::

        pruner = Pruner(model, images[:1], importance=TaylorImportance(),
                        budget=ParamsBudget(keep_ratio=0.4))
        training = ElasticTraining(pruner, optimizer, steps=epochs * len(loader))
        for images, labels in loader:
            training.step(lambda: criterion(model(images), labels))
            scheduler.step()
        pruner.prune_to(0.4 * pruner.dense_costs['budget'], order=training.order)
        recalibrate(model, loader, forward=lambda model, batch: model(batch[0]))

    Args:
        pruner: Of the model. Its importance is averaged over ``window`` steps if it is a
            :class:`~adasap_det.pruning.TaylorImportance` without one.
        optimizer: Any PyTorch optimizer of the model's parameters.
        steps: Steps of the whole training; in the last quarter the order stays.
        window: Steps that importance is averaged over, about an epoch. Default 100.
        elastic: Options of the stage, as :class:`~adasap_det.hooks.PruningHook` has them.
        seed: Seed of the sizes that are drawn.
        **options: Options of :class:`~adasap_det.optim.AdaSAPOptimWrapper`, such as ``rise``.

    Raises:
        ValueError: If an option is unknown or out of range, or the least size cannot be reached.

    Attributes:
        order: The order in which channels go, None before the first step.
    """

    def __init__(
        self,
        pruner: Pruner,
        optimizer: Optimizer,
        *,
        steps: int,
        window: int = 100,
        elastic: dict[str, Any] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self._pruner = pruner
        self._wrapper = AdaSAPOptimWrapper(optimizer=optimizer, **options)
        self._wrapper.stage = 'adaptive'
        importance = pruner.importance
        if isinstance(importance, TaylorImportance) and importance.window is None:
            importance.window = window
        self._wrapper.set_channels(channel_rows(pruner.model, pruner.groups))
        self._wrapper.gradient_observers.append(pruner.observe)
        parsed = ElasticOptions.parse(elastic or {}).with_seed(seed)
        if parsed.evaluate_keep_ratios:
            raise ValueError(
                'elastic.evaluate_keep_ratios is for PruningHook, which validates; prune copies '
                'with Pruner.copy() and the order here'
            )
        self._stage = ElasticStage(pruner, self._wrapper, parsed, begin=0, end=steps)
        self._step = 0

    @property
    def order(self) -> RemovalOrder | None:
        return self._stage.order

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """One step of the optimizer.

        Args:
            closure: Returns the loss of a batch, a scalar; called twice, with the same random
                numbers (once with ``rise=0``).

        Returns:
            The loss of the whole network, without a graph (of the reduced one with ``rise=0``).
        """
        if self._step % SCORE_INTERVAL == 0:
            importance = self._pruner.importance
            self._wrapper.set_scores(importance.scores(self._pruner.groups, self._pruner.model))
        self._stage.begin_pass(self._step)
        self._step += 1
        return self._wrapper.closure_step(self._pruner.model, closure)
