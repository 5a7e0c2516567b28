"""Distance to the other filters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import IMPORTANCES

from .base import Importance, mean_over_layers


@IMPORTANCES.register_module()
class FPGMImportance(Importance):
    """Sum of the distances of a filter to all filters of its layer, averaged over the layers.

    A filter near the geometric median is one that the others can stand in for, however large.

    Args:
        p: Order of the norm that the distances are measured in.
        normalize: See :class:`Importance`.

    Raises:
        ValueError: If ``p`` is not positive.

    Source: He et al. 2019 (arXiv 1811.00250).
    """

    def __init__(self, *, p: float = 2, normalize: str = 'mean') -> None:
        super().__init__(normalize=normalize)
        if p <= 0:
            raise ValueError(f'importance.p must be positive, got {p}')
        self.p = p

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        return mean_over_layers(group, tensors, lambda rows: torch.cdist(rows, rows, self.p).sum(1))
