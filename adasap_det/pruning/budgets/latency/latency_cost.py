"""Predicted latency as a function of how many channels each group keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from adasap_det.pruning.budgets.tensor_sizes import Along, size_with

from .grid import Grid

SELECTED_WEIGHT = 3.0
"""Weight of the unpruned network and of the selected ones in the fit."""

MOST_LEARNED = 8
"""Selected networks that are remembered."""

FIXED = 'fixed overhead'


@dataclass(frozen=True)
class Overhead:
    """The time of a network beyond the times of its layers.

    Attributes:
        fixed: Milliseconds whatever the channels; removed blocks take their share with them, by
            their calls of layers.
        per_element: Milliseconds per element that a layer puts out, for norms, activations and
            pooling.
        per_weight: Milliseconds per weight, which a layer timed by itself finds in the cache.
        scale: Time of a layer in the network, divided by its time by itself.
    """

    fixed: float = 0.0
    per_element: float = 0.0
    per_weight: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class LayerTotals:
    """Totals over the layers of a network.

    Attributes:
        ms: Their times, from the table.
        elements: Elements that they put out.
        weights: Weights that they read, a shared layer's once a call.
        calls: Calls of layers, divided by those with all blocks.
    """

    ms: float
    elements: float
    weights: float
    calls: float = 1.0


@dataclass(frozen=True)
class Measured:
    """A network that was timed.

    Attributes:
        ms: Its time.
        totals: Totals over its layers.
        weight: How much it counts.
    """

    ms: float
    totals: LayerTotals
    weight: float = 1.0


def fit_overhead(networks: Sequence[Measured]) -> Overhead:
    """The overhead that explains the times best: least squares of relative errors, then scaled.

    No part of it is negative. The first network, the unpruned one, is explained exactly: budgets
    are ratios of its time.
    """
    measured = np.array([network.ms for network in networks])
    explained = np.array(
        [
            [a.calls, 1e-6 * a.elements, 1e-6 * a.weights, a.ms]
            for a in (network.totals for network in networks)
        ]
    )
    weights = np.array([network.weight for network in networks])
    found, _ = nnls(explained * (weights / measured)[:, None], weights)
    found = found * measured[0] / (explained[0] @ found)
    fixed, elements, read, scale = map(float, found)
    return Overhead(fixed, 1e-6 * elements, 1e-6 * read, scale)


@dataclass(frozen=True)
class LatencyTerm:
    """One call of a layer.

    Attributes:
        layer: Its name.
        grid: Its measured times.
        inputs, outputs: All its channels: what no group touches, and what each group adds.
        depthwise: Whether it is a depthwise convolution, whose inputs are its outputs.
        positions: Positions of the output.
        kernel: Weights for one output channel, and one input channel unless depthwise.
        block: Name of the block that it is inside of, if that may be removed as a whole.
    """

    layer: str
    grid: Grid
    inputs: tuple[float, Along]
    outputs: tuple[float, Along]
    depthwise: bool
    positions: float
    kernel: float
    block: str | None = None

    def runs(self, kept: Mapping[str, int]) -> bool:
        """Whether the layer is not in a removed block."""
        return self.block is None or bool(kept.get(self.block, 1))

    def channels(self, kept: Mapping[str, int]) -> tuple[float, float]:
        """Input and output channels, as the grid counts them."""
        if self.depthwise:
            return size_with(self.outputs, kept), 1.0
        return size_with(self.inputs, kept), size_with(self.outputs, kept)

    def elements(self, kept: Mapping[str, int]) -> float:
        """Elements of the output."""
        return self.positions * size_with(self.outputs, kept)

    def weights(self, kept: Mapping[str, int]) -> float:
        """Weights that the call reads."""
        inputs, outputs = self.channels(kept)
        return self.kernel * inputs * outputs


class LatencyCost:
    """Milliseconds of a forward pass: the layers' own, and the overhead.

    Args:
        terms: All calls of layers.
        full: Channels of each group now, and 1 for each block that may be removed.
        networks: Timed networks, the first of them the unpruned one. What is learned is added to
            this list in place, so that the table that holds it has it too.
    """

    def __init__(
        self,
        terms: list[LatencyTerm],
        full: Mapping[str, int],
        networks: list[Measured] | None = None,
    ) -> None:
        self._terms = terms
        self.full = dict(full)
        self.networks = [] if networks is None else networks
        self.overhead = fit_overhead(networks) if networks else Overhead()
        self._of_group: dict[str, list[LatencyTerm]] = {name: [] for name in full}
        for term in terms:
            names = {n for _, along in (term.inputs, term.outputs) for n, _ in along}
            for name in names if term.block is None else names | {term.block}:
                self._of_group.setdefault(name, []).append(term)

    def cost(self, kept: Mapping[str, int] | None = None) -> float:
        """Milliseconds with ``kept`` channels by group name; as it is where ``None``."""
        return sum(self.by_layer(kept).values())

    def by_layer(self, kept: Mapping[str, int] | None = None) -> dict[str, float]:
        """The same by layer; what is there in any case under a name of its own."""
        kept = self.full if kept is None else kept
        layers = {FIXED: self.overhead.fixed * self._calls(kept)}
        for term in self._terms:
            layers[term.layer] = layers.get(term.layer, 0.0) + self._term(term, kept)
        return layers

    def of_group(self, name: str, kept: Mapping[str, int]) -> float:
        """Milliseconds of the layers that a group's channels go into or come out of, or a block's.

        That of a block includes its share of the fixed overhead.
        """
        terms = self._of_group[name]
        inside = sum(term.block == name and term.runs(kept) for term in terms)
        fixed = self.overhead.fixed * inside / max(len(self._terms), 1)
        return fixed + sum(self._term(term, kept) for term in terms)

    def layer_totals(self, kept: Mapping[str, int] | None = None) -> LayerTotals:
        """What the layers are by themselves."""
        kept = self.full if kept is None else kept
        terms = [term for term in self._terms if term.runs(kept)]
        return LayerTotals(
            sum(term.grid.at(*term.channels(kept)) for term in terms),
            sum(term.elements(kept) for term in terms),
            sum(term.weights(kept) for term in terms),
            self._calls(kept),
        )

    def learn(self, kept: Mapping[str, int], ms: float) -> None:
        """Correct the overhead by the time of a network pruned to ``kept``."""
        self.networks.append(Measured(ms, self.layer_totals(kept), SELECTED_WEIGHT))
        selected = [network for network in self.networks[1:] if network.weight == SELECTED_WEIGHT]
        if len(selected) > MOST_LEARNED:
            self.networks.remove(selected[0])
        self.overhead = fit_overhead(self.networks)

    def _calls(self, kept: Mapping[str, int]) -> float:
        """Calls of layers, divided by those with all blocks."""
        if not self._terms:
            return 1.0
        return sum(term.runs(kept) for term in self._terms) / len(self._terms)

    def _term(self, term: LatencyTerm, kept: Mapping[str, int]) -> float:
        if not term.runs(kept):
            return 0.0
        own = self.overhead.scale * term.grid.at(*term.channels(kept))
        return (
            own
            + self.overhead.per_element * term.elements(kept)
            + self.overhead.per_weight * term.weights(kept)
        )
