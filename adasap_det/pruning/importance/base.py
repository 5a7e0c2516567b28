"""Base of all importance criteria: one score, for the radii and for the selection of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup, TensorSlice
from adasap_det.pruning.graph.residual_blocks import ResidualBlock

NORMALIZERS = ('mean', 'max', 'lamp', 'none')


class Importance:
    """Base of all criteria; a subclass scores the channels of one group.

    Args:
        normalize: Puts layers on one scale before channels of all layers are ranked together:
            ``'mean'`` (default) or ``'max'`` divides by the group's own; ``'lamp'`` divides each
            score by the sum of those in the group that are no smaller (Lee et al. 2021, arXiv
            2010.07611); ``'none'`` does not, and then layers with small weights are pruned most.

    Raises:
        ValueError: If ``normalize`` is unknown.
    """

    needs_gradients = False
    """Whether :meth:`observe` has to be called before every optimizer step."""

    def __init__(self, *, normalize: str = 'mean') -> None:
        if normalize not in NORMALIZERS:
            raise ValueError(
                f'importance.normalize must be one of {NORMALIZERS}, got {normalize!r}'
            )
        self.normalize = normalize

    @property
    def known(self) -> bool:
        """Whether the scores say anything yet; they may need gradients first."""
        return True

    def scores(self, groups: Sequence[ChannelGroup], model: nn.Module) -> list[Tensor]:
        """Score of every channel, a float32 tensor of shape ``(size,)`` a group.

        Channels that are pruned together (parts of a grouped convolution) have the same score.
        """
        tensors = dict(model.named_parameters(remove_duplicate=False))
        scores = []
        with torch.no_grad():
            for group in groups:
                score = self.channel_scores(group, tensors).float()
                # Parts are pruned together: one score, which counts once in the normalisation.
                score = self._normalized(score.view(group.parts, -1).mean(0))
                scores.append(score.repeat(group.parts))
        return scores

    def block_scores(
        self,
        blocks: Sequence[ResidualBlock],
        groups: Sequence[ChannelGroup],
        scores: Sequence[Tensor],
    ) -> list[float]:
        """Score of every block as a whole: the sum of those of the channels inside.

        Args:
            blocks: The blocks.
            groups: The channel groups of the model.
            scores: What :meth:`scores` gave for them.
        """
        total = {g.name: float(s.sum()) for g, s in zip(groups, scores, strict=True)}
        return [sum(total[g.name] for g in block.inner(groups)) for block in blocks]

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        """Importance of the channels of one group, shape ``(group.size,)``, not negative.

        Args:
            group: The group.
            tensors: All parameters of the model by name.
        """
        raise NotImplementedError

    def observe(self, groups: Sequence[ChannelGroup], model: nn.Module) -> None:
        """Use the gradients of this step; called if ``needs_gradients`` is true.

        In mixed precision they may not be finite; such steps are to be left out.
        """

    def observe_blocks(self, blocks: Sequence[ResidualBlock], model: nn.Module) -> None:
        """The same for blocks that may be removed as a whole."""

    def keep(self, group: ChannelGroup, kept: Tensor) -> None:
        """Drop the removed channels of ``group`` (as it was before the prune step)."""

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs, as tensors by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of an earlier run."""

    def _normalized(self, score: Tensor) -> Tensor:
        if self.normalize == 'none' or score.numel() == 0:
            return score
        if self.normalize == 'lamp':
            ordered, order = score.sort(descending=True)
            scale = torch.empty_like(score)
            scale[order] = ordered.cumsum(0)
            return score / scale.clamp_min(torch.finfo(score.dtype).tiny)
        scale = score.mean() if self.normalize == 'mean' else score.max()
        return score / torch.where(scale > 0, scale, 1.0)


def mean_over_layers(
    group: ChannelGroup,
    tensors: Mapping[str, Tensor],
    row_scores: Callable[[Tensor], Tensor],
    *,
    owners: Sequence[str] | None = None,
) -> Tensor:
    """Average of a score of filters over the layers that compute the channels, shape ``(size,)``.

    Args:
        group: The group.
        tensors: All parameters of the model by name.
        row_scores: Gives a weight's rows, shape ``(rows, elements)`` in float32, a score each.
        owners: Names of the layers that count; by default the convolutions and linear layers.
    """
    owners = group.layers if owners is None else owners
    total = next(iter(tensors.values())).new_zeros(group.size, dtype=torch.float32)
    count = torch.zeros_like(total)
    for piece in group.own:
        owner, _, attribute = piece.name.rpartition('.')
        if owner in owners and attribute.endswith('weight'):  # or in_proj_weight of an attention
            rows = tensors[piece.name].float().movedim(piece.dim, 0)
            score = row_scores(rows.reshape(len(rows), -1))
            add_at(total, piece, score)
            add_at(count, piece, torch.ones_like(score))
    return total / count.clamp_min(1)


def add_at(total: Tensor, piece: TensorSlice, per_position: Tensor) -> None:
    """Add the values of a slice's positions to the channels that they belong to, in place."""
    positions, channels = piece.index_on(total.device)
    total.index_add_(0, channels, per_position.to(total.device)[positions])
