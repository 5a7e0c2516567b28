"""Products of weights and gradients of all channels, computed together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup, TensorSlice


class Gains:
    """Which parameters count for each channel, worked out once for many steps.

    The norm layers of a channel count where they have gradients, otherwise its convolutions and
    linear layers, unless a norm layer takes statistics of the batch behind them.

    Args:
        groups: The channel groups.
        model: Their model, with the gradients of a step.
    """

    def __init__(self, groups: Sequence[ChannelGroup], model: nn.Module) -> None:
        self._groups = tuple(groups)
        self._model = model
        self._parameters = dict(model.named_parameters(remove_duplicate=False))
        modules = dict(model.named_modules(remove_duplicate=False))
        self._norms = [modules[norm] for group in groups for norm in group.norms]
        self._own = [
            self._parameters[piece.name]
            for piece in chain.from_iterable(group.own for group in groups)
            if piece.name in self._parameters  # not a buffer
        ]
        self._state = self._structure()
        device = next(iter(self._parameters.values())).device
        self._sources: list[tuple[nn.Parameter, int]] = []
        index, masks = [], []
        offset = 0
        total = sum(group.size for group in groups)
        for group in groups:
            pieces, known = self._pieces(group, modules)
            for piece, counts in pieces:
                parameter = self._parameters[piece.name]
                rows = torch.full((parameter.shape[piece.dim],), total)
                rows[piece.positions] = torch.where(counts, offset + piece.channels, total)
                self._sources.append((parameter, piece.dim))
                index.append(rows)
            masks.append(known)
            offset += group.size
        self._total = total
        self._partial = any(bool(mask.any()) and not bool(mask.all()) for mask in masks)
        self._index = torch.cat(index).to(device) if index else None
        self._known = torch.cat(masks).to(device)
        sizes = torch.tensor([group.size for group in groups])
        self._group = torch.arange(len(groups)).repeat_interleave(sizes).to(device)
        self._sizes = sizes.to(device)
        self._any_known = torch.stack([mask.any() for mask in masks]).to(device)

    def fit(self, groups: Sequence[ChannelGroup], model: nn.Module) -> bool:
        """Whether they are still those of this model and step."""
        return (
            model is self._model
            and len(groups) == len(self._groups)
            and all(a is b for a, b in zip(groups, self._groups, strict=True))
            and self._state == self._structure()
        )

    def signed(self) -> tuple[Tensor, Tensor]:
        """Sum of weight times gradient of each channel, shape ``(C,)``, and which are known."""
        signed = torch.zeros(self._total + 1, device=self._known.device)
        if self._index is not None:
            weights = [parameter.detach().float() for parameter, _ in self._sources]
            grads = [parameter.grad.float() for parameter, _ in self._sources]  # type: ignore[union-attr]
            rows = [
                product if product.dim() == 1 else product.transpose(0, dim).flatten(1).sum(1)
                for product, (_, dim) in zip(
                    torch._foreach_mul(weights, grads), self._sources, strict=True
                )
            ]
            signed.index_add_(0, self._index, torch.cat(rows))
        return signed[:-1], self._known

    def completed(self, gain: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Give unknown channels the mean of their group.

        Args:
            gain: Shape ``(C,)``.
            known: Shape ``(C,)``.

        Returns:
            The gains, 0 in groups that are unknown or not finite, shape ``(C,)``, and which groups
            are neither, shape ``(G,)``.
        """
        usable = self._any_known & (self._per_group((~torch.isfinite(gain)).float()) == 0)
        if self._partial:
            sums = self._per_group(torch.where(known, gain, 0.0))
            mean = sums / self._per_group(known.float()).clamp_min(1)
            gain = torch.where(known, gain, self.by_channel(mean))
        return torch.where(self.by_channel(usable), gain, 0.0), usable

    def by_channel(self, values: Tensor) -> Tensor:
        """A value of each group, shape ``(G,)``, for each channel, shape ``(C,)``."""
        return values[self._group]

    def _per_group(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self._groups)).index_add_(0, self._group, values)

    def _structure(self) -> tuple[list[bool], list[bool]]:
        """What the choice of parameters depends on."""
        return (
            [parameter.grad is None for parameter in self._own],
            [_takes_batch_statistics(norm) for norm in self._norms],
        )

    def _pieces(
        self, group: ChannelGroup, modules: dict[str, nn.Module]
    ) -> tuple[list[tuple[TensorSlice, Tensor]], Tensor]:
        """The slices that count and the positions in them that do; which channels are known."""
        by_norms, known = self._with_gradient(group, group.norms)
        chosen = [(piece, torch.ones_like(piece.channels, dtype=torch.bool)) for piece in by_norms]
        if not known.all():
            by_layers, has_gradient = self._with_gradient(group, group.layers)
            has_gradient &= ~known & ~_behind_batch_statistics(group, modules)
            chosen += [(piece, has_gradient[piece.channels]) for piece in by_layers]
            known |= has_gradient
        return chosen, known

    def _with_gradient(
        self, group: ChannelGroup, owners: Sequence[str]
    ) -> tuple[list[TensorSlice], Tensor]:
        """Slices of ``owners`` with a gradient, and the channels that they cover."""
        covered = torch.zeros(group.size, dtype=torch.bool)
        found = []
        for piece in group.own:
            parameter = self._parameters.get(piece.name)
            if parameter is None or parameter.grad is None:
                continue
            if piece.name.rpartition('.')[0] in owners:
                found.append(piece)
                covered[piece.channels] = True
        return found, covered


def _behind_batch_statistics(group: ChannelGroup, modules: dict[str, nn.Module]) -> Tensor:
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
