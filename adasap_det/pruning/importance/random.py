"""A score that knows nothing: what every criterion must beat."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import IMPORTANCES

from .base import Importance


@IMPORTANCES.register_module()
class RandomImportance(Importance):
    """Random scores, the same for a group until it is pruned.

    Args:
        seed: Another seed, other scores.
        normalize: See :class:`Importance`.
    """

    def __init__(self, *, seed: int = 0, normalize: str = 'none') -> None:
        super().__init__(normalize=normalize)
        self.seed = seed

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        # Drawn on the CPU from the name: the same on all ranks, and after a resume.
        own = zlib.crc32(f'{self.seed}/{group.name}/{group.size}'.encode())
        score = torch.rand(group.size, generator=torch.Generator().manual_seed(own))
        return score.to(next(iter(tensors.values())).device)
