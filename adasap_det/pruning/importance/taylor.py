"""First-order Taylor estimate of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.residual_blocks import ResidualBlock
from adasap_det.registry import IMPORTANCES

from .base import Importance, add_at


@IMPORTANCES.register_module()
class TaylorImportance(Importance):
    r"""First-order Taylor estimate of the change of the loss when a channel is removed.

    :math:`|\sum \theta g|` over the parameters that gate the channel, averaged over the steps
    since the last prune step: scale and shift of its norm layers where these are trained (weights
    in front of a norm layer that uses statistics of the batch have :math:`w \cdot g = 0`), else
    weights and biases. Channels without gradients, for instance of frozen layers, get the mean of
    their group, and groups without any gradient the mean of all other scores, so that they are
    neither pruned first nor last. A block that may go as a whole is scored alike, by the
    parameters of its branches' last layers or norms.

    Args:
        squared: Average :math:`(\sum \theta g)^2` instead of the absolute value, as Molchanov et
            al. do; a channel that matters only in some batches counts for more.
        normalize: See :class:`Importance`. Default ``'none'``: the estimate is in units of the
            loss, on one scale in all layers.

    Source: Molchanov et al. 2019 (arXiv 1906.10771); on norm layers as in HALP
        (arXiv 2110.10811).
    """

    needs_gradients = True

    def __init__(self, *, squared: bool = False, normalize: str = 'none') -> None:
        super().__init__(normalize=normalize)
        self.squared = squared
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}

    def scores(self, groups: Sequence[ChannelGroup], model: nn.Module) -> list[Tensor]:
        scores = super().scores(groups, model)
        observed = [group.name in self._sums for group in groups]
        if not any(observed):
            return scores
        mean = torch.cat([s for s, known in zip(scores, observed, strict=True) if known]).mean()
        return [
            score if known else mean.repeat(score.numel())
            for score, known in zip(scores, observed, strict=True)
        ]

    def block_scores(
        self,
        blocks: Sequence[ResidualBlock],
        groups: Sequence[ChannelGroup],
        scores: Sequence[Tensor],
    ) -> list[float]:
        """The estimate of the loss's change if the ends of all branches were zero.

        It is in the channels' unit only where these are not normalised, and known only where the
        ends have gradients; otherwise the sum of the scores of the channels inside.
        """
        sums = super().block_scores(blocks, groups, scores)
        if self.normalize != 'none':
            return sums
        return [
            float(self._sums[block.name]) / self._steps[block.name]
            if block.name in self._sums
            else inside
            for block, inside in zip(blocks, sums, strict=True)
        ]

    def observe(self, groups: Sequence[ChannelGroup], model: nn.Module) -> None:
        tensors = dict(model.named_parameters(remove_duplicate=False))
        modules = dict(model.named_modules(remove_duplicate=False))
        for group in groups:
            gain = self._gain(group, tensors, modules)
            if gain is not None:
                self._add(group.name, gain)

    @torch.no_grad()
    def observe_blocks(self, blocks: Sequence[ResidualBlock], model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        for block in blocks:
            ends = [parameters[name] for name in block.ends]
            signed = [(p.float() * p.grad.float()).sum() for p in ends if p.grad is not None]
            if signed:
                total = torch.stack(signed).sum()
                self._add(block.name, total.square() if self.squared else total.abs())

    def _add(self, name: str, gain: Tensor) -> None:
        self._sums[name] = self._sums[name] + gain if name in self._sums else gain
        self._steps[name] = self._steps.get(name, 0) + 1

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        device = next(iter(tensors.values())).device
        if group.name not in self._sums:
            # Nothing is known (first step, or frozen weights): all channels score the same.
            return torch.ones(group.size, device=device)
        return self._sums[group.name].to(device) / self._steps[group.name]

    def keep(self, group: ChannelGroup, kept: Tensor) -> None:
        # The estimate is that of the network before the prune step.
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
    def _gain(
        self,
        group: ChannelGroup,
        tensors: Mapping[str, Tensor],
        modules: Mapping[str, nn.Module],
    ) -> Tensor | None:
        signed, known = _signed_gain(group, tensors, owners=group.norms)
        if not known.all():
            by_weights, by_layers = _signed_gain(group, tensors, owners=group.layers)
            by_layers &= ~known & ~_behind_batch_statistics(group, modules)
            signed = torch.where(by_layers.to(signed.device), by_weights, signed)
            known |= by_layers
        gain = signed.square() if self.squared else signed.abs()
        if known.all():
            return gain
        if not known.any():
            return None
        known = known.to(gain.device)
        return torch.where(known, gain, gain[known].mean())


def _signed_gain(
    group: ChannelGroup, tensors: Mapping[str, Tensor], *, owners: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Sum of weight times gradient of each channel over ``owners``, and which have a gradient.

    The second is on the CPU: it follows from the model's structure, and no step waits for the GPU.
    """
    signed = torch.zeros(group.size, device=next(iter(tensors.values())).device)
    known = torch.zeros(group.size, dtype=torch.bool)
    for piece in group.own:
        parameter = tensors.get(piece.name)  # buffers are not among the parameters
        owner = piece.name.rpartition('.')[0]
        if parameter is None or parameter.grad is None or owner not in owners:
            continue
        rows = (parameter.float() * parameter.grad.float()).transpose(0, piece.dim)
        add_at(signed, piece, rows.flatten(1).sum(1) if rows.dim() > 1 else rows)
        known[piece.channels] = True
    return signed, known


def _behind_batch_statistics(group: ChannelGroup, modules: Mapping[str, nn.Module]) -> Tensor:
    """Which channels' weights are in front of a norm layer that takes statistics of the batch."""
    behind = torch.zeros(group.size, dtype=torch.bool)
    for norm in group.norms:
        if _takes_batch_statistics(modules[norm]):
            pieces = [p for p in group.own if p.name.rpartition('.')[0] == norm]
            for piece in pieces:
                behind[piece.channels] = True
            if not pieces:  # without parameters and statistics it covers all
                behind[:] = True
    return behind


def _takes_batch_statistics(norm: nn.Module) -> bool:
    batch_norm = isinstance(norm, nn.modules.batchnorm._NormBase)
    return batch_norm and (norm.training or norm.running_mean is None)
