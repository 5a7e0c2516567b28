"""First-order Taylor estimate of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.registry import IMPORTANCES

from .base import Importance
from .gains import Gains


@IMPORTANCES.register_module()
class TaylorImportance(Importance):
    r"""First-order Taylor estimate of the change of the loss when a channel is removed.

    :math:`|\sum \theta g|` over the parameters that gate the channel, averaged over the steps
    since the last prune step: scale and shift of its norm layers where these are trained (weights
    in front of a norm layer that uses statistics of the batch have :math:`w \cdot g = 0`), else
    weights and biases. Channels without gradients, for instance of frozen layers, get the mean of
    their group, and groups without any gradient the mean of all other scores, so that they are
    neither pruned first nor last. A prune step keeps the scores of the channels that remain, until
    there are new ones. A group is left out of a step in which one of its gradients is not finite,
    and under DDP every step is averaged over the ranks.

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
        mean = torch.where(known, sums, 0).sum() / torch.where(known, sizes, 0).sum()
        return [torch.where(k, score, mean) for k, score in zip(known, scores, strict=True)]

    @torch.no_grad()
    def observe(self, groups: Sequence[ChannelGroup], model: nn.Module) -> None:
        if self._gains is None or not self._gains.fit(groups, model):
            self._gains = Gains(groups, model)
        signed, is_known = self._gains.signed()
        gain = signed.square() if self.squared else signed.abs()
        gain, finite = self._gains.completed(gain, is_known)
        if get_world_size() > 1:
            both = torch.cat([gain, finite.to(gain)])
            all_reduce(both, op='sum')
            gain, ranks = both.split([len(gain), len(finite)])
            gain = gain / self._gains.by_channel(ranks).clamp_min(1)
            finite = ranks > 0
        for group, new, step in zip(
            groups, gain.split([group.size for group in groups]), finite.unbind(), strict=True
        ):
            before = self._sums.get(group.name)
            self._sums[group.name] = new.clone() if before is None else before.add_(new)
            steps = self._steps.get(group.name)
            self._steps[group.name] = step.to(new) if steps is None else steps.add_(step)

    def channel_scores(self, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
        device = next(iter(tensors.values())).device
        # Nothing is known before the first step, or of frozen weights: all channels are equal.
        before = self._before.get(group.name)
        before = torch.ones(group.size, device=device) if before is None else before.to(device)
        if group.name not in self._sums:
            return before
        steps = self._steps[group.name].to(device)
        mean = self._sums[group.name].to(device) / steps.clamp_min(1)
        return torch.where(steps > 0, mean, before)

    def keep(self, group: ChannelGroup, kept: Tensor) -> None:
        sums, steps = self._sums.pop(group.name, None), self._steps.pop(group.name, None)
        before = self._before.pop(group.name, None)
        if sums is not None and steps is not None and bool(steps > 0):
            before = sums / steps
        if before is not None:
            self._before[group.name] = before[kept.to(before.device)]
        self._gains = None

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
