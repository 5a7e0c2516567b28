"""Time of a training step: plain, textbook SAM (pytorch-optimizer's) and ours, in alternation.

All run on the same model and the same batch, one step each in turn, so that whatever else the
machine does falls on all alike. Prints the median time of each and the median of the ratios
within a round.

    pip install pytorch-optimizer
    python benchmarks/step_time.py --config configs/ssdlite_mobilenetv2_voc_adasap.py --batch 8
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.table import Table
from torch import nn

import adasap_det
from adasap_det.engine.input_size import pipeline_input_size
from adasap_det.hooks.pruning_hook import channel_rows
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import MagnitudeImportance, find_channel_groups

Step = Callable[[], object]


def make_batch(size: tuple[int, int], batch: int, num_classes: int) -> dict:
    """Noise with two boxes a picture: time does not depend on what is shown."""
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(0)
    height, width = size
    samples = []
    for index in range(batch):
        sample = DetDataSample(
            metainfo={
                'img_shape': size,
                'ori_shape': size,
                'scale_factor': (1.0, 1.0),
                'batch_input_shape': size,
                'pad_shape': size,
            }
        )
        boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.9, 0.9]])
        scale = torch.tensor([width, height, width, height])
        labels = torch.tensor([index % num_classes, 0])
        sample.gt_instances = InstanceData(bboxes=boxes * scale, labels=labels)
        samples.append(sample)
    pictures = torch.randint(0, 255, (batch, 3, *size), generator=generator, dtype=torch.uint8)
    return {'inputs': list(pictures), 'data_samples': samples}


def plain_step(model: nn.Module, data: dict) -> Step:
    """MMEngine's own step."""
    wrapper = OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9))
    return lambda: model.train_step(data, wrapper)


def peer_step(model: nn.Module, data: dict) -> Step:
    """Textbook SAM, in its ASAM form, by pytorch-optimizer."""
    from pytorch_optimizer import SAM

    sam = SAM(
        model.parameters(),
        base_optimizer=torch.optim.SGD,
        rho=0.5,
        adaptive=True,
        lr=1e-6,
        momentum=0.9,
    )

    def loss() -> torch.Tensor:
        processed = model.data_preprocessor(data, True)
        return model.parse_losses(model(**processed, mode='loss'))[0]

    def step() -> None:
        loss().backward()
        sam.first_step(zero_grad=True)
        loss().backward()
        sam.second_step(zero_grad=True)

    return step


def our_step(model: nn.Module, data: dict, stage: str, size: tuple[int, int]) -> Step:
    """Ours, with the importance taken anew every step in the adaptive stage."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    wrapper = AdaSAPOptimWrapper(optimizer=optimizer, rho_max=0.5, rho=0.5)
    wrapper.stage = stage
    groups = find_channel_groups(model, input_size=size).groups
    wrapper.set_channels(channel_rows(model, groups))
    importance = MagnitudeImportance()

    def step() -> None:
        if stage == 'adaptive':
            wrapper.set_scores(torch.cat(importance.scores(groups, model)))
        model.train_step(data, wrapper)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    default = adasap_det.config_path('ssdlite_mobilenetv2_voc_dense.py')
    parser.add_argument('--config', default=default)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--warm-up', type=int, default=2)
    args = parser.parse_args()

    torch.manual_seed(0)
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(cfg.model).train()
    size = pipeline_input_size(cfg)
    data = make_batch(size, args.batch, cfg.model.bbox_head.num_classes)

    steps: dict[str, Step] = {
        'plain': plain_step(model, data),
        'pytorch-optimizer SAM': peer_step(model, data),
        'ours, uniform': our_step(model, data, 'uniform', size),
        'ours, adaptive': our_step(model, data, 'adaptive', size),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    console = Console()
    for round_ in range(args.warm_up + args.rounds):
        # Each goes first, second, … equally often: a step leaves caches and memory to the next.
        order = (
            list(steps.items())[round_ % len(steps) :] + list(steps.items())[: round_ % len(steps)]
        )
        for name, step in order:
            begin = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_ >= args.warm_up:
                times[name].append(time.perf_counter() - begin)
        console.print(f'round {round_ + 1} of {args.warm_up + args.rounds}', style='dim')

    table = Table(title=f'{args.config}, {size[0]}x{size[1]}, batch {args.batch}')
    for column in ('step', 'median s', 'times plain', 'times peer'):
        table.add_column(column, justify='left' if column == 'step' else 'right')
    for name, taken in times.items():
        plain, peer = (
            statistics.median(t / o for t, o in zip(taken, times[other], strict=True))
            for other in ('plain', 'pytorch-optimizer SAM')
        )
        table.add_row(name, f'{statistics.median(taken):.3f}', f'{plain:.3f}', f'{peer:.3f}')
    console.print(table)
    console.print(f'torch {torch.__version__}, {torch.get_num_threads()} threads')


if __name__ == '__main__':
    main()
