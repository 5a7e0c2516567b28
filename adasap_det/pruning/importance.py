"""Importance of channels: one score, used for the radii and for the cut alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from adasap_det.registry import IMPORTANCES

from .channels import ChannelGroup, TensorSlice

NORMALIZERS = ('mean', 'max', 'none')


class Importance:
    """Base of all criteria; a criterion says what one group's channels are worth.

    Args:
        normalize: Puts layers on one scale before channels of all layers are ranked together:
            ``'mean'`` (default) or ``'max'`` divides by the group's own, ``'none'`` does not,
            and then layers with small weights lose most.

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

    def scores(self, groups: Sequence[ChannelGroup], model: nn.Module) -> list[Tensor]:
        """Score of every channel, a float32 tensor of shape ``(size,)`` a group.

        Channels that must share their fate (parts of a grouped convolution) share their score.
        """
        tensors = dict(model.named_parameters(remove_duplicate=False))
        scores = []
        with torch.no_grad():
            for group in groups:
                score = self.channel_scores(group, tensors).float()
                if group.parts > 1:
                    score = score.view(group.parts, -1).mean(0).repeat(group.parts)
                scores.append(self._normalized(score))
        return scores

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        """Importance of the channels of one group, shape ``(group.size,)``, not negative.

        Args:
            group: The group.
            tensors: All parameters of the model by name.
        """
        raise NotImplementedError

    def observe(self, groups: Sequence[ChannelGroup], model: nn.Module) -> None:
        """Take in the gradients of this step; called where ``needs_gradients`` is true."""

    def keep(self, group: ChannelGroup, kept: Tensor) -> None:
        """Forget the channels that were cut from ``group`` (described as before the cut)."""

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs, as tensors by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the state of an earlier run."""

    def _normalized(self, score: Tensor) -> Tensor:
        if self.normalize == 'none' or score.numel() == 0:
            return score
        scale = score.mean() if self.normalize == 'mean' else score.max()
        return score / scale if scale > 0 else score


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
        weights = {f'{layer}.weight' for layer in group.layers}
        total = next(iter(tensors.values())).new_zeros(group.size, dtype=torch.float32)
        count = torch.zeros_like(total)
        for piece in group.own:
            if piece.name in weights:
                rows = tensors[piece.name].float().transpose(0, piece.dim).flatten(1)
                norm = torch.linalg.vector_norm(rows, ord=self.p, dim=1)
                _add_at(total, piece, norm)
                _add_at(count, piece, torch.ones_like(norm))
        return total / count.clamp_min(1)


@IMPORTANCES.register_module()
class TaylorImportance(Importance):
    r"""First-order Taylor estimate of what the loss gains when a channel goes.

    :math:`|\sum \theta g|` over the parameters that gate the channel, averaged over the steps
    since the last cut: scale and shift of its norm layers where it has them (weights in front of
    a norm layer have :math:`w \cdot g = 0`), else weights and biases.

    Args:
        normalize: See :class:`Importance`. Default ``'none'``: the estimate is in units of the
            loss, on one scale in all layers.

    Source: Molchanov et al. 2019 (arXiv 1906.10771); on norm layers as in HALP
        (arXiv 2110.10811).
    """

    needs_gradients = True

    def __init__(self, *, normalize: str = 'none') -> None:
        super().__init__(normalize=normalize)
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}

    def observe(self, groups: Sequence[ChannelGroup], model: nn.Module) -> None:
        tensors = dict(model.named_parameters(remove_duplicate=False))
        for group in groups:
            gain = self._gain(group, tensors)
            if gain is None:
                continue
            if group.name in self._sums:
                self._sums[group.name] += gain
            else:
                self._sums[group.name] = gain
            self._steps[group.name] = self._steps.get(group.name, 0) + 1

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        device = next(iter(tensors.values())).device
        if group.name not in self._sums:
            # Nothing known yet (first step, or frozen weights): no channel above another.
            return torch.ones(group.size, device=device)
        return self._sums[group.name].to(device) / self._steps[group.name]

    def keep(self, group: ChannelGroup, kept: Tensor) -> None:
        # The estimate belongs to the network as it was; after a cut it starts anew.
        self._sums.clear()
        self._steps.clear()

    def state_dict(self) -> dict[str, Tensor]:
        return {f'sum/{k}': v.cpu() for k, v in self._sums.items()} | {
            f'steps/{k}': torch.tensor(v) for k, v in self._steps.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._sums = {k[4:]: v.clone() for k, v in state.items() if k.startswith('sum/')}
        self._steps = {k[6:]: int(v) for k, v in state.items() if k.startswith('steps/')}

    @torch.no_grad()
    def _gain(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor | None:
        owners = group.norms or group.layers
        signed = None
        for piece in group.own:
            parameter = tensors.get(piece.name)  # buffers are not among the parameters
            owner = piece.name.rpartition('.')[0]
            if parameter is None or parameter.grad is None or owner not in owners:
                continue
            rows = (parameter.float() * parameter.grad.float()).transpose(0, piece.dim)
            gain = rows.flatten(1).sum(1) if rows.dim() > 1 else rows
            if signed is None:
                signed = torch.zeros(group.size, device=gain.device)
            _add_at(signed, piece, gain)
        return None if signed is None else signed.abs()


def _add_at(total: Tensor, piece: TensorSlice, per_position: Tensor) -> None:
    index = piece.positions.to(per_position.device)
    total.index_add_(0, piece.channels.to(total.device), per_position[index].to(total.device))
