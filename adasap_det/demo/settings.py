"""Sizes of the demo: length of training and amount of data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adasap_det.utils.shipped_configs import config_path

if TYPE_CHECKING:
    from mmengine.config import Config

IMAGE_SIZE = 96
"""Side of the images in pixels, the input size of ``configs/demo``."""

SHIPPED_DENSE = Path(__file__).with_name('dense.pth')
"""The trained dense detector, in float16; ``benchmarks/demo_checkpoint.py`` makes it."""

DENSE = 'dense'
"""Name of the dense training and of its config."""

TWINS = ('plain', 'elastic')
"""The two trainings that are compared, each a config of ``configs/demo``."""


@dataclass(frozen=True)
class Settings:
    """One size of the demo.

    Attributes:
        num_train, num_test: Number of images.
        iterations: Length of each training.
        dense_iterations: Length of the dense training, for ``--from-scratch``.
        keep_ratios: Ratios of the parameters that both networks are pruned to.
        batches: Training batches for batch norm's statistics and for importance after training.
        rounds: Timed forward passes of each network.
        drawn_images: Number of test images to draw detections on.
    """

    num_train: int
    num_test: int
    iterations: int
    dense_iterations: int
    keep_ratios: tuple[float, ...] = (0.8, 0.6, 0.4, 0.3, 0.2)
    batches: int = 20
    rounds: int = 30
    drawn_images: int = 4

    @property
    def sizes(self) -> tuple[float, ...]:
        """Ratios of all sizes, the whole network first."""
        return (1.0, *self.keep_ratios)


FULL = Settings(num_train=1600, num_test=100, iterations=250, dense_iterations=4000)

FAST = Settings(
    num_train=32,
    num_test=6,
    iterations=4,
    dense_iterations=2,
    keep_ratios=(0.6, 0.3),
    batches=2,
    rounds=3,
    drawn_images=2,
)
"""A few iterations, to check that everything runs; the networks learn nothing."""


def load_config(
    name: str,
    settings: Settings,
    *,
    work_dir: Path,
    seed: int,
    load_from: Path | None = None,
    folder: str | None = None,
) -> Config:
    """Load a config of the demo, with its files below ``work_dir``.

    Args:
        name: ``dense``, ``plain`` or ``elastic``.
        settings: Size of the demo.
        work_dir: Folder of the demo.
        seed: Seed of the training.
        load_from: Checkpoint to start from.
        folder: Folder of the run below ``work_dir``, by default its name.
    """
    from mmengine.config import Config

    work_dir = work_dir.resolve()  # a run that is resumed has the same config
    cfg = Config.fromfile(config_path(f'demo/shapes_{name}.py'))
    length = settings.dense_iterations if name == 'dense' else settings.iterations
    warm_up = min(cfg.param_scheduler[0].end, length // 2)
    cfg.merge_from_dict(
        {
            'train_cfg.max_iters': length,
            'param_scheduler.0.end': warm_up,
            'param_scheduler.1.begin': warm_up,
            'param_scheduler.1.end': length,
            'randomness.seed': seed,
        }
    )
    cfg.work_dir = str(work_dir / (folder or name))
    cfg.load_from = None if load_from is None else str(load_from)
    for stage in ('train', 'val', 'test'):
        cfg[f'{stage}_dataloader'].dataset.data_root = f'{work_dir / "data"}/'
    return cfg
