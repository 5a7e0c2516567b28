"""Compute losses of a few training batches outside a training run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner, set_random_seed
from torch import Tensor, nn


def some_batches(cfg: Config, count: int, *, seed: int = 0) -> list[Any]:
    """Return the first batches of the training data.

    Args:
        cfg: Full config.
        count: Number of batches; fewer are returned if the data set is smaller.
        seed: Seed of the order and of random augmentation.
    """
    loader_cfg = {**cfg.train_dataloader, 'num_workers': 0, 'persistent_workers': False}
    set_random_seed(seed)  # augmentation draws from Python's and NumPy's generators too
    loader = Runner.build_dataloader(loader_cfg, seed=seed)
    return [batch for _, batch in zip(range(count), loader, strict=False)]


def batch_losses(model: Any, batches: list[Any]) -> Iterator[Tensor]:
    """Total loss of each batch, in evaluation mode, so that no statistics are updated."""
    model.eval()
    for batch in batches:
        data = model.data_preprocessor(_copied(batch), True)
        losses = model._run_forward(data, mode='loss')
        yield model.parse_losses(losses)[0]


def mean_loss(model: nn.Module, batches: list[Any]) -> float:
    """Average loss over the batches."""
    with torch.no_grad():
        values = [float(loss) for loss in batch_losses(model, batches)]
    return sum(values) / len(values)


def _copied(batch: Any) -> Any:
    """Copy a batch, as some heads change the annotations."""
    if isinstance(batch, dict):
        return {key: _copied(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [_copied(item) for item in batch]
    return batch.clone() if hasattr(batch, 'clone') else batch
