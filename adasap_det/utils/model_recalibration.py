"""Re-estimate batch norm statistics of an MMEngine model from a config's training data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.runner import Runner

from .recalibration import recalibrate


def recalibrate_model(
    model: Any,
    dataloader: Mapping[str, Any],
    *,
    batches: int,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> int:
    """:func:`~adasap_det.utils.recalibration.recalibrate` on a config's data loader.

    Args:
        model: MMEngine model; called in its mode 'tensor', on data preprocessed as for training.
        dataloader: Config of the loader; its data set may be an object, which is copied.
        batches: Number of batches; fewer are read if the data set is smaller.
        layers: Names of the batch norm layers; by default all that have running statistics.
        seed: Seed of the images' order and of random augmentation.

    Returns:
        Number of batches read.
    """
    loader = Runner.build_dataloader({**dataloader, 'persistent_workers': False}, seed=seed)
    # One that changes the size of the images from time to time remembers the last one.
    preprocess = copy.deepcopy(model.data_preprocessor)

    def forward(model: Any, batch: Any) -> Any:
        return model._run_forward(preprocess(batch, True), mode='tensor')

    return recalibrate(
        model, loader, max_batches=batches, forward=forward, layers=layers, seed=seed
    )
