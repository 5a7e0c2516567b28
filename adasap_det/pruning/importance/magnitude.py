"""Magnitude of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import IMPORTANCES

from .base import Importance, mean_over_layers


@IMPORTANCES.register_module()
class MagnitudeImportance(Importance):
    """Norm of the weights that compute a channel, averaged over the layers of its group.

    Only convolutions and linear layers count; biases and norm parameters don't.

    Args:
        p: Order of the norm, 2 as in the paper, or 1.
        normalize: See :class:`Importance`.
    """

    def __init__(self, *, p: float = 2, normalize: str = 'mean') -> None:
        super().__init__(normalize=normalize)
        if p <= 0:
            raise ValueError(f'importance.p must be positive, got {p}')
        self.p = p

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        return mean_over_layers(
            group, tensors, lambda rows: torch.linalg.vector_norm(rows, ord=self.p, dim=1)
        )


@IMPORTANCES.register_module()
class LAMPImportance(Importance):
    r"""Squared norm of a channel's weights through the sum of those in its group no smaller.

    Channels of all layers are comparable then, and no layer is emptied: the largest of each has
    score 1.

    Source: Lee et al. 2021 (arXiv 2010.07611), on channels in place of single weights.
    """

    def __init__(self) -> None:
        super().__init__(normalize='lamp')

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        return mean_over_layers(group, tensors, lambda rows: rows.square().sum(1))
