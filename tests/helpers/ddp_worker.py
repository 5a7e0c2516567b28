"""One rank of a small distributed training run; started by ``test_distributed.py``."""

import json
import os
import sys
from collections import Counter
from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from torch import Tensor, distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future

from adasap_det.optim import AdaSAPOptimWrapper
from tests.helpers.toy import ToyDetector, toy_batch

STEPS = 4


class SideBranch(ToyDetector):
    """With a parameter that only some batches reach, as a head that trains on positives has."""

    def __init__(self, dropout: float) -> None:
        super().__init__(dropout)
        self.side = nn.Parameter(torch.ones(5))

    def forward(self, *args: Any, mode: str = 'tensor', reach: bool = False, **kwargs: Any) -> Any:
        losses = super().forward(*args, mode=mode, **kwargs)
        if reach:
            losses['loss_side'] = (kwargs['targets'] @ self.side - 1).square().mean()
        return losses


def rank_batch(rank: int, step: int, *, side: bool = False) -> dict[str, Any]:
    """The batch of one rank at one step; the ranks' targets pull in different directions.

    With ``side`` only the first rank's batches reach the side branch.
    """
    batch: dict[str, Any] = {k: v.double() for k, v in toy_batch(10 * step + rank).items()}
    batch['targets'] += 2 * rank - 1
    return batch | ({'reach': rank == 0} if side else {})


def build(*, side: bool = False) -> ToyDetector:
    """The same weights on every rank; no dropout, whose masks would differ."""
    torch.manual_seed(0)
    return (SideBranch if side else ToyDetector)(dropout=0.0).double().train()


def count(seen: Counter[str], bucket: distributed.GradBucket) -> Future[Tensor]:
    """DDP's all-reduce, counted: how often it came to its last bucket, buckets and elements."""
    seen['passes'] += bucket.is_last()
    seen['buckets'] += 1
    seen['elements'] += bucket.buffer().numel()
    return allreduce_hook(None, bucket)


def main(
    folder: str,
    rank: int,
    world: int,
    *,
    unused: bool = False,
    side: bool = False,
    **options: Any,
) -> nn.Module:
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world
    )
    bare = build(side=side)
    if unused:
        bare.unused = nn.Parameter(torch.ones(3))
    model = MMDistributedDataParallel(
        bare,
        broadcast_buffers=False,
        find_unused_parameters=unused or side,
        bucket_cap_mb=0.001,  # several buckets also for so small a model
    )
    reduced = Counter[str]()
    model.register_comm_hook(reduced, count)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    wrapper = AdaSAPOptimWrapper(optimizer=optimizer, rho=0.75, **options)
    seen: list[Tensor] = []

    def look(module: nn.Module, args: Any) -> None:
        seen.append(nn.utils.parameters_to_vector(module.parameters()).detach())

    bare.register_forward_pre_hook(look)
    passes = []
    for step in range(STEPS):
        model.train_step(rank_batch(rank, step, side=side), wrapper)
        passes.append(reduced['passes'])
    perturbations = [there - here for here, there in zip(seen[::2], seen[1::2], strict=False)]
    torch.save(
        {
            'model': bare.state_dict(),
            'perturbations': perturbations,
            'count': wrapper.inner_count,
            'passes': passes,
            'buckets': reduced['buckets'],
            'elements': reduced['elements'],
        },
        f'{folder}/rank{rank}.pth',
    )
    distributed.destroy_process_group()
    return model


if __name__ == '__main__':
    *arguments, options = sys.argv[1:]
    # Held to the end: now and then gloo never ends while DDP, with a hook in Python, is destroyed,
    # or while the interpreter tears down.
    held = main(arguments[0], int(arguments[1]), int(arguments[2]), **json.loads(options))
    os._exit(0)
