"""Size, latency and channels of the evaluated model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from adasap_det.pruning import count_macs, count_params
from adasap_det.robustness.results import DatasetInfo, LayerChannels, ModelInfo
from adasap_det.utils.device import cpu_name
from adasap_det.utils.modules import unwrap
from adasap_det.utils.timing import measure_latency

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def layer_channels(model: nn.Module, dense: nn.Module) -> tuple[LayerChannels, ...]:
    """Output channels of convolutions and linear layers, in the model and in the dense model.

    Args:
        model: The evaluated model.
        dense: The unpruned model, built from the same config.
    """
    before = {
        name: _channels(layer)
        for name, layer in dense.named_modules()
        if isinstance(layer, _LAYERS)
    }
    return tuple(
        LayerChannels(layer=name, channels=_channels(layer), dense_channels=before[name])
        for name, layer in model.named_modules()
        if isinstance(layer, _LAYERS) and name in before
    )


def _channels(layer: Any) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def describe_model(
    cfg: Config,
    model: nn.Module,
    *,
    name: str,
    config: str,
    checkpoint: str,
    checkpoint_sha256: str,
    dataset: DatasetInfo,
    input_size: tuple[int, int] | None,
    latency_ms: float | None = None,
    latency_rounds: int = 30,
    conditions: str = '',
    imagenet_c: bool = False,
) -> ModelInfo:
    """Count and time a model.

    Args:
        cfg: Full config; its ``model`` is the dense one.
        model: The loaded model; may be wrapped.
        name, config, checkpoint, checkpoint_sha256, dataset, conditions, imagenet_c: Recorded as
            given.
        input_size: Height and width for MACs and latency; None omits both.
        latency_ms: Latency that was already measured on this machine.
        latency_rounds: Number of timed forward passes, on a CPU only; 0 omits the latency.
    """
    bare = unwrap(model)
    device = next(bare.parameters()).device
    macs, latency = None, latency_ms
    if input_size is not None:
        macs = int(count_macs(bare, input_size=input_size))
        if latency is None and device.type == 'cpu' and latency_rounds:
            latency = measure_latency({name: bare}, input_size=input_size, rounds=latency_rounds)[
                name
            ]
    return ModelInfo(
        name=name,
        config=config,
        checkpoint=checkpoint,
        checkpoint_sha256=checkpoint_sha256,
        params=count_params(bare),
        macs=macs,
        input_size=input_size,
        latency_ms=latency,
        device=f'{cpu_name()}, {torch.get_num_threads()} threads' if latency is not None else None,
        dataset=dataset,
        channels=layer_channels(bare, MODELS.build(cfg.model)),
        conditions=conditions,
        imagenet_c=imagenet_c,
    )
