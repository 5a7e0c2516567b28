"""One rank of a small distributed training run; started by ``test_distributed.py``."""

import json
import os
import sys
from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from torch import Tensor, distributed, nn

from adasap_det.optim import AdaSAPOptimWrapper
from tests.toy import ToyDetector, toy_batch

STEPS = 4


def rank_batch(rank: int, step: int) -> dict[str, Tensor]:
    """The batch of one rank at one step; the ranks' targets pull in different directions."""
    batch = {k: v.double() for k, v in toy_batch(10 * step + rank).items()}
    batch['targets'] += 2 * rank - 1
    return batch


def build() -> ToyDetector:
    """The same weights on every rank; no dropout, whose masks would differ."""
    torch.manual_seed(0)
    return ToyDetector(dropout=0.0).double().train()


def main(folder: str, rank: int, world: int, options: dict[str, Any]) -> None:
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world
    )
    bare = build()
    model = MMDistributedDataParallel(bare, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    wrapper = AdaSAPOptimWrapper(optimizer=optimizer, rho=0.75, **options)
    seen: list[Tensor] = []

    def look(module: nn.Module, args: Any) -> None:
        seen.append(nn.utils.parameters_to_vector(module.parameters()).detach())

    bare.register_forward_pre_hook(look)
    for step in range(STEPS):
        model.train_step(rank_batch(rank, step), wrapper)
    perturbations = [there - here for here, there in zip(seen[::2], seen[1::2], strict=True)]
    torch.save(
        {'model': bare.state_dict(), 'perturbations': perturbations, 'count': wrapper.inner_count},
        f'{folder}/rank{rank}.pth',
    )
    distributed.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
    os._exit(0)  # now and then gloo never ends while the interpreter tears down
