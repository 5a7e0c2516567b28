"""Scale of the norm layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import IMPORTANCES

from .base import Importance, mean_over_layers


@IMPORTANCES.register_module()
class NormScaleImportance(Importance):
    """Absolute scale that the batch norm (or group or layer norm) gives a channel.

    Averaged over the norm layers of the group. Groups without one, which could not be compared
    otherwise, take the L2 norm of their weights; the normalisation puts both on one scale.

    Args:
        normalize: See :class:`Importance`.

    Source: network slimming, Liu et al. 2017 (arXiv 1708.06519).
    """

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        scaled = [name for name in group.norms if f'{name}.weight' in tensors]
        return mean_over_layers(
            group,
            tensors,
            lambda rows: torch.linalg.vector_norm(rows, dim=1),
            owners=scaled or None,
        )
