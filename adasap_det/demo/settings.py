"""Sizes of the demo: training length and amount of data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from adasap_det.utils.shipped_configs import config_path

IMAGE_SIZE = 128
"""Side of the images in pixels, the input size of ``configs/demo``."""


@dataclass(frozen=True)
class Settings:
    """One size of the demo.

    Attributes:
        num_train, num_val, num_test: Images per split.
        overrides: Config overrides, by config.
        timing_rounds: Timed forward passes of each model.
        images: Number of test images to draw detections on.
        corrupted: Number of test images in the corrupted benchmark.
        corruptions: Corruptions of the benchmark, by name or set.
        severities: Severities of the benchmark.
        workers: Processes that build it; None for one per processor, 0 for none.
    """

    num_train: int
    num_val: int
    num_test: int
    overrides: dict[str, dict[str, object]]
    timing_rounds: int
    images: int
    corrupted: int
    corruptions: tuple[str, ...] = ('benchmark',)
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    workers: int | None = None


FULL = Settings(
    num_train=4000,
    num_val=100,
    num_test=400,
    overrides={},
    timing_rounds=100,
    images=8,
    corrupted=100,
)
_BRIEF: dict[str, object] = {'train_dataloader.batch_size': 4, 'default_hooks.logger.interval': 1}
_SCHEDULE: dict[str, object] = {
    **_BRIEF,
    'train_cfg.max_iters': 6,
    'train_cfg.val_interval': 6,
    'param_scheduler.1.end': 60,
    'default_hooks.pruning.prune_begin': 2,
    'default_hooks.pruning.prune_steps': 2,
    'default_hooks.pruning.prune_interval': 1,
}
FAST = Settings(
    num_train=16,
    num_val=4,
    num_test=8,
    overrides={
        'dense': {
            **_BRIEF,
            'train_cfg.max_iters': 4,
            'train_cfg.val_interval': 4,
            'param_scheduler.1.end': 60,
        },
        'pruned': _SCHEDULE,
        'adasap': _SCHEDULE,
    },
    timing_rounds=5,
    images=2,
    corrupted=3,
    corruptions=('fog', 'contrast'),
    severities=(1, 3),
    workers=0,
)
"""A few iterations, to check that everything runs; the models learn nothing."""


def load_config(name: str, settings: Settings, *, work_dir: Path, seed: int) -> Config:
    """Load a config of the demo, with its files below ``work_dir``.

    Args:
        name: ``dense``, ``pruned`` or ``adasap``.
        settings: Size of the demo.
        work_dir: Folder of the demo; the run writes to ``work_dir/name``.
        seed: Seed of the training.
    """
    cfg = Config.fromfile(config_path(f'demo/shapes_{name}.py'))
    cfg.merge_from_dict(settings.overrides.get(name, {}))
    cfg.work_dir = str(work_dir / name)
    for stage in ('train', 'val', 'test'):
        cfg[f'{stage}_dataloader'].dataset.data_root = f'{work_dir / "data"}/'
    cfg.randomness = dict(seed=seed)
    return cfg
