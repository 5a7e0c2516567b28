"""Channels of pruned models side by side, for models of the same dense architecture."""

from __future__ import annotations

from dataclasses import dataclass

from adasap_det.robustness.report.comparison import Comparison


@dataclass(frozen=True)
class ChannelTable:
    """Layers of one dense architecture, and what each model kept of them.

    Attributes:
        layers: Names, in the model's order; N.
        dense: Channels of the dense layers; N, all positive.
        models: Indices in the report of the models that lost channels.
        channels: Kept channels, one tuple of N a model.
    """

    layers: tuple[str, ...]
    dense: tuple[int, ...]
    models: tuple[int, ...]
    channels: tuple[tuple[int, ...], ...]

    def parts(self) -> list[tuple[str, int, list[int]]]:
        """Sums over the parts of the model: name such as 'backbone.layer1', dense, kept of each."""
        rows: dict[str, list[int]] = {}
        for index, (layer, dense) in enumerate(zip(self.layers, self.dense, strict=True)):
            part = '.'.join(layer.split('.')[:2])
            sums = rows.setdefault(part, [0] * (1 + len(self.models)))
            sums[0] += dense
            for place, channels in enumerate(self.channels, start=1):
                sums[place] += channels[index]
        return [(part, sums[0], sums[1:]) for part, sums in rows.items()]


def channel_tables(comparison: Comparison) -> list[ChannelTable]:
    """One table for each dense architecture of which at least one model lost channels.

    Raises:
        ValueError: If a layer keeps more channels than the dense one has, or the dense one none.
    """
    found: dict[tuple[tuple[str, int], ...], list[tuple[int, tuple[int, ...]]]] = {}
    for index, r in enumerate(comparison.results):
        for layer in r.model.channels:
            if not 0 <= layer.channels <= layer.dense_channels or layer.dense_channels < 1:
                raise ValueError(
                    f'{comparison.names[index]!r} ({r.folder}): layer {layer.layer!r} keeps '
                    f'{layer.channels} of {layer.dense_channels} channels'
                )
        if any(layer.channels < layer.dense_channels for layer in r.model.channels):
            architecture = tuple((layer.layer, layer.dense_channels) for layer in r.model.channels)
            kept = tuple(layer.channels for layer in r.model.channels)
            found.setdefault(architecture, []).append((index, kept))
    return [
        ChannelTable(
            layers=tuple(layer for layer, _ in architecture),
            dense=tuple(dense for _, dense in architecture),
            models=tuple(index for index, _ in models),
            channels=tuple(kept for _, kept in models),
        )
        for architecture, models in found.items()
    ]
