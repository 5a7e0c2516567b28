"""Make the demo's dense detector: train it from scratch, and store the weights in float16.

    python benchmarks/demo_checkpoint.py --work-dir work_dirs/demo_dense

Writes ``adasap_det/demo/dense.pth``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from adasap_det.datasets import make_shapes_voc
from adasap_det.demo.settings import FULL, IMAGE_SIZE, SHIPPED_DENSE
from adasap_det.demo.twin import train_dense
from adasap_det.utils.io import atomic_write

NUM_TRAIN = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, default='work_dirs/demo_dense')
    args = parser.parse_args()
    torch.set_num_threads(1)
    make_shapes_voc(
        args.work_dir / 'data',
        num_train=NUM_TRAIN,
        num_val=200,
        num_test=500,
        image_size=IMAGE_SIZE,
    )
    train_dense(FULL, work_dir=args.work_dir, seed=0)
    store(args.work_dir / 'dense' / f'iter_{FULL.dense_iterations}.pth', SHIPPED_DENSE)


def store(trained: Path, out: Path) -> None:
    """Write the weights of a checkpoint, rounded to float16."""
    state = torch.load(trained, map_location='cpu', weights_only=False)['state_dict']
    rounded = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    with atomic_write(out) as temporary:
        torch.save({'state_dict': rounded, 'meta': {}}, temporary)


if __name__ == '__main__':
    main()
