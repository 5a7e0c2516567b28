"""Channels of pruned models, grouped by dense architecture."""

from __future__ import annotations

from dataclasses import dataclass

from adasap_det.robustness.report.comparison import Comparison


@dataclass(frozen=True)
class ChannelTable:
    """Layers of one dense architecture and their channels in each pruned model.

    Attributes:
        layers: Names of the N layers, in the model's order.
        dense: Channels of the N dense layers, all positive.
        models: Indices of the pruned models in the report.
        channels: Remaining channels, a tuple of length N for each model.
    """

    layers: tuple[str, ...]
    dense: tuple[int, ...]
    models: tuple[int, ...]
    channels: tuple[tuple[int, ...], ...]

    def parts(self) -> list[tuple[str, int, list[int]]]:
        """Sum channels over the parts of the model.

        Returns:
            Name such as 'backbone.layer1', dense channels, and remaining channels of each model.
        """
        rows: dict[str, list[int]] = {}
        for index, (layer, dense) in enumerate(zip(self.layers, self.dense, strict=True)):
            part = '.'.join(layer.split('.')[:2])
            sums = rows.setdefault(part, [0] * (1 + len(self.models)))
            sums[0] += dense
            for place, channels in enumerate(self.channels, start=1):
                sums[place] += channels[index]
        return [(part, sums[0], sums[1:]) for part, sums in rows.items()]


def channel_tables(comparison: Comparison) -> list[ChannelTable]:
    """Return one table for each dense architecture with at least one pruned model.

    Raises:
        ValueError: If a layer has more channels than the dense layer, or the dense layer has none.
    """
    found: dict[tuple[tuple[str, int], ...], list[tuple[int, tuple[int, ...]]]] = {}
    for index, r in enumerate(comparison.results):
        for layer in r.model.channels:
            if not 0 <= layer.channels <= layer.dense_channels or layer.dense_channels < 1:
                raise ValueError(
                    f'{comparison.names[index]!r} ({r.folder}): layer {layer.layer!r} has '
                    f'{layer.channels} of {layer.dense_channels} channels'
                )
        if any(layer.channels < layer.dense_channels for layer in r.model.channels):
            architecture = tuple((layer.layer, layer.dense_channels) for layer in r.model.channels)
            remaining = tuple(layer.channels for layer in r.model.channels)
            found.setdefault(architecture, []).append((index, remaining))
    return [
        ChannelTable(
            layers=tuple(layer for layer, _ in architecture),
            dense=tuple(dense for _, dense in architecture),
            models=tuple(index for index, _ in models),
            channels=tuple(remaining for _, remaining in models),
        )
        for architecture, models in found.items()
    ]
