"""Time and memory of a training step: plain, pytorch-optimizer's SAM and LookSAM, and ours.

All methods run on the same model and batch, in alternation, so that other load on the machine
affects all alike. Each turn is one step, or ``--interval`` steps for methods that perturb only
every so many. Prints the median time per step of each and the median of the ratios within a round.
Peak memory is measured in one process per method and compared with the plain step.

    pip install pytorch-optimizer
    python benchmarks/step_time.py
    python benchmarks/step_time.py --batch 4 --rounds 10 --configs CONFIG [CONFIG ...]
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from rich.console import Console
from rich.table import Table
from torch import nn

from adasap_det.checkpoint.loading import build_model
from adasap_det.hooks.channel_rows import channel_rows
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import (
    MagnitudeImportance,
    ParamsBudget,
    Pruner,
    count_params,
    find_channel_groups,
)
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.utils.input_size import pipeline_input_size

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {
    'configs/ssdlite/ssdlite224_mobilenetv2_1xb16-90e_voc0712.py': 8,
    'configs/ssd/ssd300_vgg16_8xb8-24e_voc0712.py': 4,
    'configs/resnet/resnet50_8xb128-90e_in1k.py': 8,
}
SGD = {'lr': 1e-6, 'momentum': 0.9}
PLAIN, PEER, PEER_LOOK = 'plain', 'pytorch-optimizer SAM', 'pytorch-optimizer LookSAM'


@dataclass(frozen=True)
class Setting:
    """Settings common to all methods."""

    config: str
    batch: int
    interval: int

    def build(self) -> tuple[nn.Module, dict[str, Any], tuple[int, int]]:
        """Return model, batch and input size in pixels."""
        torch.manual_seed(0)
        cfg = Config.fromfile(ROOT / self.config)
        cfg.model.get('backbone', {}).pop('init_cfg', None)
        size = pipeline_input_size(cfg)
        model = build_model(cfg).train()
        make = labelled if cfg.default_scope == 'mmpretrain' else boxed
        return model, make(size, self.batch), size


def boxed(size: tuple[int, int], batch: int) -> dict[str, Any]:
    """Noise images with two boxes each: the time does not depend on their content."""
    from mmdet.structures import DetDataSample

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
        labels = torch.tensor([index % 20, 0])
        sample.gt_instances = InstanceData(bboxes=boxes * scale, labels=labels)
        samples.append(sample)
    return {'inputs': list(_noise(size, batch)), 'data_samples': samples}


def labelled(size: tuple[int, int], batch: int) -> dict[str, Any]:
    """Noise images with one label each."""
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(index) for index in range(batch)]
    return {'inputs': list(_noise(size, batch)), 'data_samples': samples}


def _noise(size: tuple[int, int], batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (batch, 3, *size), generator=generator, dtype=torch.uint8)


Step = Callable[[], object]


def plain_step(model: nn.Module, data: dict, size: tuple[int, int]) -> Step:
    """Step of MMEngine's own optimizer wrapper."""
    wrapper = OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), **SGD))
    return lambda: model.train_step(data, wrapper)


def peer_step(model: nn.Module, data: dict, size: tuple[int, int], **options: Any) -> Step:
    """SAM or LookSAM of pytorch-optimizer, in ASAM's form and used as documented."""
    from pytorch_optimizer import SAM, LookSAM

    kind = LookSAM if 'k' in options else SAM
    optimizer = kind(model.parameters(), torch.optim.SGD, rho=0.5, adaptive=True, **options, **SGD)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        processed = model.data_preprocessor(data, True)
        loss = model.parse_losses(model(**processed, mode='loss'))[0]
        loss.backward()
        return loss

    def step() -> None:
        closure()
        optimizer.step(closure)

    return step


def our_step(
    model: nn.Module,
    data: dict,
    size: tuple[int, int],
    *,
    stage: str = 'uniform',
    prune: bool = False,
    **options: Any,
) -> Step:
    """Our step; the adaptive stage computes the importance at every step."""
    importance = MagnitudeImportance()
    groups = []
    if prune:
        model = copy.deepcopy(model)
        pruner = Pruner(
            model,
            example_image(size),
            importance=importance,
            budget=ParamsBudget(keep_ratio=0.4),
            round_to=8,
        )
        pruner.prune()
    if stage == 'adaptive':
        groups = find_channel_groups(model, example_image(size)).groups
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    wrapper = AdaSAPOptimWrapper(optimizer=optimizer, rho_max=0.5, rho=0.5, **options)
    wrapper.stage = stage
    wrapper.set_channels(channel_rows(model, groups))

    def step() -> None:
        if stage == 'adaptive':
            wrapper.set_scores(torch.cat(importance.scores(groups, model)))
        model.train_step(data, wrapper)

    return step


def methods(interval: int) -> dict[str, tuple[Callable[..., Step], int]]:
    """Return for each method the function that makes its step, and its steps per turn."""
    return {
        PLAIN: (plain_step, 1),
        PEER: (peer_step, 1),
        PEER_LOOK: (partial(peer_step, k=interval), interval),
        'ours, uniform': (our_step, 1),
        'ours, adaptive': (partial(our_step, stage='adaptive'), 1),
        f'ours, interval={interval}': (partial(our_step, interval=interval), interval),
        "ours, layers='norm'": (partial(our_step, layers='norm'), 1),
        'ours, adaptive, perturb_ratio=0.5': (
            partial(our_step, stage='adaptive', perturb_ratio=0.5, ungrouped='none'),
            1,
        ),
        'ours, uniform, pruned to 40 %': (partial(our_step, prune=True), 1),
    }


def times(setting: Setting, *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Measure the seconds per step of each method in each round."""
    model, data, size = setting.build()
    steps = {}
    for name, (make, cycle) in methods(setting.interval).items():
        if "layers='norm'" in name and not any(
            isinstance(m, nn.BatchNorm2d) for m in model.modules()
        ):
            continue
        steps[name] = (make(model, data, size), cycle)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(warm_up + rounds):
        # Rotate the order: a step affects the next one through caches and memory.
        names = list(steps)
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            step, cycle = steps[name]
            begin = time.perf_counter()
            for _ in range(cycle):
                step()
            _wait()
            if round_ >= warm_up:
                taken[name].append((time.perf_counter() - begin) / cycle)
    return taken


def memory(setting: Setting, name: str) -> float:
    """Peak MiB of this process after two turns of one method."""
    model, data, size = setting.build()
    make, cycle = methods(setting.interval)[name]
    step = make(model, data, size)
    for _ in range(2 * cycle):
        step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    # Not getrusage, whose peak includes the process that this one was forked from.
    status = Path('/proc/self/status').read_text('utf-8')
    return int(re.search(r'VmHWM:\s*(\d+) kB', status).group(1)) / 1024


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def memory_in_subprocess(setting: Setting, name: str) -> float:
    """Measure :func:`memory` in a new process."""
    options = {'config': setting.config, 'batch': setting.batch, 'interval': setting.interval}
    request = json.dumps({**options, 'method': name})
    done = subprocess.run(
        [sys.executable, __file__, '--memory-of', request],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def report(setting: Setting, taken: Mapping[str, list[float]], peaks: Mapping[str, float]) -> Table:
    """Table with a row per method."""
    weights = 4 * count_params(setting.build()[0]) / 2**20
    table = Table(
        title=f'{setting.config}, batch {setting.batch}: one copy of the weights is '
        f'{weights:.0f} MiB'
    )
    heads = ('step', 'median s', 'times plain', 'times SAM', 'peak MiB', 'over plain')
    for head in heads:
        table.add_column(head, justify='left' if head == 'step' else 'right')
    for name, seconds in taken.items():
        plain, peer = (
            statistics.median(t / o for t, o in zip(seconds, taken[other], strict=True))
            for other in (PLAIN, PEER)
        )
        peak = peaks.get(name)
        table.add_row(
            name,
            f'{statistics.median(seconds):.3f}',
            f'{plain:.3f}',
            f'{peer:.3f}',
            '' if peak is None else f'{peak:,.0f}',
            '' if peak is None else f'{peak - peaks[PLAIN]:+,.0f}',
        )
    return table


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--configs', nargs='+', default=list(CONFIGS))
    parser.add_argument('--batch', type=int, help='images (default: 8, 4 for SSD300)')
    parser.add_argument('--interval', type=int, default=5)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--no-memory', action='store_true')
    parser.add_argument('--memory-of', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        request = json.loads(args.memory_of)
        method = request.pop('method')
        print(memory(Setting(**request), method))
        return 0
    console = Console(width=120)
    for config in args.configs:
        setting = Setting(config, args.batch or CONFIGS.get(config, 8), args.interval)
        taken = times(setting, rounds=args.rounds)
        peaks = (
            {} if args.no_memory else {name: memory_in_subprocess(setting, name) for name in taken}
        )
        console.print(report(setting, taken, peaks))
    console.print(f'torch {torch.__version__}, {torch.get_num_threads()} threads')
    return 0


if __name__ == '__main__':
    sys.exit(main())
