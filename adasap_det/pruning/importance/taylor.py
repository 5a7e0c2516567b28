"""First-order Taylor estimate of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.residual_blocks import ResidualBlock
from adasap_det.registry import IMPORTANCES

from .base import Importance
from .gains import Gains

BLOCK = 'block:'


def _block_key(block: ResidualBlock) -> str:
    """Its name among those of the groups."""
    return f'{BLOCK}{block.name}'


@IMPORTANCES.register_module()
class TaylorImportance(Importance):
    r"""First-order Taylor estimate of the change of the loss when a channel is removed.

    :math:`|\sum \theta g|` over the parameters that gate the channel, averaged over the steps
    since the last prune step, or the latest of them: scale and shift of its norm layers where
    these are trained (weights in front of a norm layer that uses statistics of the batch have
    :math:`w \cdot g = 0`), else weights and biases. Channels without gradients, for instance of
    frozen layers, get the mean of their group, and groups without any gradient the mean of all
    other scores, so that they are neither pruned first nor last. A block that may go as a whole is
    scored alike, by the parameters of its branches' last layers or norms. A prune step keeps the
    scores of the channels that remain, until there are new ones. A group is left out of a step in
    which one of its gradients is not finite, and under DDP every step is averaged over the ranks.

    Args:
        squared: Average :math:`(\sum \theta g)^2` instead of the absolute value, as Molchanov et
            al. do; a channel that matters only in some batches counts for more.
        window (int, optional): Average over about so many steps, with weights that fall
            exponentially. Default none: over all steps since the last prune step.
        normalize: See :class:`Importance`. Default ``'none'``: the estimate is in units of the
            loss, on one scale in all layers.

    Source: Molchanov et al. 2019 (arXiv 1906.10771); on norm layers as in HALP
        (arXiv 2110.10811).
    """

    needs_gradients = True

    def __init__(
        self, *, squared: bool = False, window: int | None = None, normalize: str = 'none'
    ) -> None:
        super().__init__(normalize=normalize)
        if window is not None and window < 1:
            raise ValueError(f'importance.window must be at least 1, got {window}')
        self.window = window
        self.squared = squared
        # By name of the group; the steps are counted on the device, as it is asked there whether
        # all is finite.
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}  # means at the last prune step
        self._known = False
        self._gains: Gains | None = None

    @property
    def known(self) -> bool:
        if not self._known:
            self._known = bool(self._before) or any(bool(n > 0) for n in self._steps.values())
        return self._known

    def scores(self, groups: Sequence[ChannelGroup], model: nn.Module) -> list[Tensor]:
        scores = super().scores(groups, model)
        if not scores or not self.known:
            return scores
        known = torch.stack([self._is_known(group.name, scores[0].device) for group in groups])
        sums = torch.stack([score.sum() for score in scores])
        sizes = sums.new_tensor([group.size for group in groups])
        mean = torch.where(known, sums, 0).sum() / torch.where(known, sizes, 0).sum().clamp_min(1)
        return [torch.where(k, score, mean) for k, score in zip(known, scores, strict=True)]

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
        found = super().block_scores(blocks, groups, scores)
        if self.normalize != 'none':
            return found
        for index, block in enumerate(blocks):
            key = _block_key(block)
            if key in self._sums and bool(self._steps[key] > 0):
                found[index] = float(self._sums[key] / self._steps[key])
            elif key in self._before:
                found[index] = float(self._before[key])
        return found

    @torch.no_grad()
    def observe(self, groups: Sequence[ChannelGroup], model: nn.Module) -> None:
        if self._gains is None or not self._gains.fit(groups, model):
            self._gains = Gains(groups, model)
        signed, is_known = self._gains.signed()
        gain = signed.square() if self.squared else signed.abs()
        gain, finite = self._gains.completed(gain, is_known)
        gain, finite = self._over_ranks(gain, finite, self._gains.by_channel)
        sizes = [group.size for group in groups]
        for group, new, step in zip(groups, gain.split(sizes), finite.unbind(), strict=True):
            self._add(group.name, new, step)

    @torch.no_grad()
    def observe_blocks(self, blocks: Sequence[ResidualBlock], model: nn.Module) -> None:
        if not blocks:
            return
        parameters = dict(model.named_parameters())
        zero = next(iter(parameters.values())).new_zeros((), dtype=torch.float32)
        signed, trained = [], []
        for block in blocks:
            ends = [p for p in map(parameters.__getitem__, block.ends) if p.grad is not None]
            signed.append(sum(((p.float() * p.grad.float()).sum() for p in ends), start=zero))  # type: ignore[union-attr]
            trained.append(bool(ends))
        total = torch.stack(signed)
        gain = total.square() if self.squared else total.abs()
        usable = torch.isfinite(gain) & torch.tensor(trained, device=gain.device)
        gain, usable = self._over_ranks(torch.where(usable, gain, 0.0), usable, lambda x: x)
        for block, new, step in zip(blocks, gain.unbind(), usable.unbind(), strict=True):
            self._add(_block_key(block), new, step)

    def _over_ranks(
        self, gain: Tensor, usable: Tensor, spread: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean over the ranks on which it is usable, and whether it is on any."""
        if get_world_size() == 1:
            return gain, usable
        both = torch.cat([gain, usable.to(gain)])
        all_reduce(both, op='sum')
        gain, ranks = both.split([len(gain), len(usable)])
        return gain / spread(ranks).clamp_min(1), ranks > 0

    def _add(self, name: str, gain: Tensor, step: Tensor) -> None:
        stays = 1.0 if self.window is None else 1 - 1 / self.window
        for totals, new in ((self._sums, gain), (self._steps, step.to(gain))):
            before = totals.get(name)
            totals[name] = new.clone() if before is None else before.mul_(stays).add_(new)

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        device = next(iter(tensors.values())).device
        # Nothing is known before the first step, or of frozen weights: all channels are equal.
        before = self._before.get(group.name)
        before = torch.ones(group.size, device=device) if before is None else before.to(device)
        if group.name not in self._sums:
            return before
        steps = self._steps[group.name].to(device)
        mean = self._sums[group.name].to(device) / torch.where(steps > 0, steps, 1)
        return torch.where(steps > 0, mean, before)

    def keep(self, group: ChannelGroup, kept: Tensor) -> None:
        self._close(group.name)
        if group.name in self._before:
            before = self._before[group.name]
            self._before[group.name] = before[kept.to(before.device)]
        for name in [name for name in self._sums if name.startswith(BLOCK)]:
            self._close(name)
        self._gains = None

    def _close(self, name: str) -> None:
        """Keep the mean of what has been observed, and begin anew."""
        sums, steps = self._sums.pop(name, None), self._steps.pop(name, None)
        if sums is not None and steps is not None and bool(steps > 0):
            self._before[name] = sums / steps

    def state_dict(self) -> dict[str, Tensor]:
        parts = {'sum': self._sums, 'steps': self._steps, 'before': self._before}
        return {
            f'{part}/{name}': value.cpu()
            for part, values in parts.items()
            for name, value in values.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {'sum': {}, 'steps': {}, 'before': {}}
        for key, value in state.items():
            part, _, name = key.partition('/')
            parts[part][name] = value.clone()
        self._sums, self._steps, self._before = parts.values()
        self._known = False

    def _is_known(self, name: str, device: torch.device) -> Tensor:
        if name in self._before:
            return torch.ones((), dtype=torch.bool, device=device)
        steps = self._steps.get(name)
        if steps is None:
            return torch.zeros((), dtype=torch.bool, device=device)
        return steps.to(device) > 0
