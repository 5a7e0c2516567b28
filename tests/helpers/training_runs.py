"""Small training runs through MMEngine's Runner for the tests of hooks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset


@MODELS.register_module()
class TinyNet(BaseModel):
    """Two residual convolutions with batch norm, dropout, and a linear output layer."""

    def __init__(self, width: int = 16, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.inner_bn = nn.BatchNorm2d(width)
        self.back = nn.Conv2d(width, width, 1)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(width, 2)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = 'tensor') -> Any:
        x = self.bn(self.stem(inputs)).relu()
        x = x + self.back(self.inner_bn(self.inner(x)).relu())
        x = self.out(self.dropout(x.mean((2, 3))))
        if mode == 'loss':
            return {'loss': nn.functional.cross_entropy(x, labels)}
        if mode == 'predict':
            return [{'right': bool(r)} for r in x.argmax(1) == labels]
        return x


@DATASETS.register_module()
class TinyData(Dataset):
    """Images of noise, brighter for the second class; augmented by a random flip."""

    metainfo: ClassVar = {'classes': ('dark', 'bright')}

    def __init__(self, length: int = 24) -> None:
        generator = torch.Generator().manual_seed(1)
        self.labels = torch.arange(length) % 2
        self.images = torch.rand(length, 3, 6, 6, generator=generator)
        self.images += self.labels[:, None, None, None] * 0.5

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self.images[index]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return {'inputs': image, 'labels': self.labels[index]}


@METRICS.register_module()
class TinyAccuracy(BaseMetric):
    """Ratio of correct predictions."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [sample['right'] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {'accuracy': sum(results) / len(results)}


HOOK = {
    'type': 'PruningHook',
    'budget': {'type': 'ParamsBudget', 'keep_ratio': 0.5},
    'adaptive_begin': 0,
    'prune_begin': 2,
    'prune_steps': 3,
    'prune_interval': 2,
    'input_size': (6, 6),
}
WRAPPER = {
    'type': 'AdaSAPOptimWrapper',
    'optimizer': {'type': 'SGD', 'lr': 0.05, 'momentum': 0.9},
    'rho_max': 0.5,
    'rho': 0.5,
}


def tiny_config(work_dir: Path, **changes: Any) -> Config:
    """Six epochs of six iterations: adaptive 0-11, prune steps before 12, 14, 16, then uniform."""
    loader = {
        'batch_size': 4,
        'num_workers': 0,
        'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        'dataset': {'type': 'TinyData'},
        'collate_fn': {'type': 'default_collate'},
    }
    cfg: dict[str, Any] = {
        'model': {'type': 'TinyNet'},
        'work_dir': str(work_dir),
        'train_dataloader': loader,
        'val_dataloader': {**loader, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
        'val_evaluator': {'type': 'TinyAccuracy'},
        'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': 6},
        'val_cfg': {'type': 'ValLoop'},
        'optim_wrapper': WRAPPER,
        'param_scheduler': [{'type': 'StepLR', 'step_size': 2, 'gamma': 0.5}],
        'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'interval': 1}},
        'custom_hooks': [{'type': 'RandomStateHook'}, HOOK],
        'default_scope': 'mmengine',
        'randomness': {'seed': 5},
        'log_level': 'WARNING',
        'experiment_name': f'tiny_{abs(hash(str(work_dir)))}',
    }
    for key, value in changes.items():
        if value is None:
            cfg.pop(key)
        else:
            cfg[key] = value
    return Config(copy.deepcopy(cfg))


def train(cfg: Config) -> Runner:
    """Build a runner and train to the end."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner
