"""How much a network keeps when it is pruned at once, after different first stages.

From one trained dense network each arm trains for some epochs, plain or with perturbed weights.
The network is then pruned at once to several shares of its parameters; batch-norm statistics are
re-estimated on an epoch of training images, nothing is fine-tuned but where the result says so.
Settings are chosen by 'choice', the figures are those of 'report': other images.

    CIFAR10_ROOT=/data/cifar10 python benchmarks/one_shot.py --out work_dirs/one_shot \
        --weights dense.pth --arms plain uniform rank --seeds 0

Every finished run is added to ``--record`` at once; runs that are there are not repeated.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from compatibility import write_between_marks
from mmengine.logging import MessageHub
from one_shot_tasks import ROOT, Cifar10, Voc2012
from torch import nn

from adasap_det import recalibrate
from adasap_det.hooks.channel_rows import channel_rows
from adasap_det.hooks.elastic_stage import ElasticOptions, ElasticStage
from adasap_det.hooks.soft_pruning import SoftPruning
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import ParamsBudget, Pruner, TaylorImportance
from adasap_det.pruning.order import RemovalOrder
from adasap_det.utils.io import atomic_write

KEEP_RATIOS = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2)
MPC_RATIOS = ('1.0', '0.4', '0.2')
SCORE_INTERVAL = 10
TASKS = {
    'mobilenetv2_cifar10_5k': (Cifar10, 'benchmarks/configs/mobilenetv2_cifar10_5k_dense.py'),
    'ssdlite160_voc2012': (Voc2012, 'benchmarks/configs/ssdlite160_voc2012_dense.py'),
    'resnet18_w8_cifar10_5k': (Cifar10, 'benchmarks/configs/resnet18_w8_cifar10_5k_dense.py'),
}


@dataclass(frozen=True)
class Arm:
    """A first stage.

    Attributes:
        stage: Stage of the wrapper.
        options: Options of the wrapper.
        epochs_factor: Multiple of ``--epochs``.
        elastic: Options of the elastic stage.
        soft: Share of the parameters that soft pruning is aimed at; channels are chosen after the
            first epoch, and what goes is zero at the end.
    """

    stage: str
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs_factor: int = 1
    elastic: Mapping[str, Any] | None = None
    soft: float | None = None


ARMS = {
    'plain': Arm('plain'),
    'plain, 2x epochs': Arm('plain', epochs_factor=2),
    'uniform': Arm('uniform'),
    'equal radii': Arm('adaptive', {'radius_ratio': 1.0}),
    'linear': Arm('adaptive', {'radius_map': 'linear'}),
    'layer': Arm('adaptive', {'radius_map': 'layer'}),
    'rank': Arm('adaptive'),
    'inverse': Arm('inverse'),
    'rank, subbatch': Arm('adaptive', {'ascent': 'subbatch'}),
    'elastic': Arm('adaptive', elastic={}),
    'elastic, per cost': Arm('adaptive', elastic={'per_cost': True}),
    'elastic, one pass': Arm('plain', elastic={}),
    'elastic, uniform': Arm('uniform', elastic={}),
    'soft, at 40 %': Arm('plain', soft=0.4),
    'soft, at 20 %': Arm('plain', soft=0.2),
    'rank, soft, at 20 %': Arm('adaptive', soft=0.2),
    'elastic, smallest often': Arm('adaptive', elastic={'smallest_share': 0.2}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--network', choices=TASKS, default=next(iter(TASKS)))
    add('--weights', type=Path, help='state dict of the dense network')
    add('--out', type=Path, default='work_dirs/one_shot', help='folder of the trained networks')
    add('--record', type=Path, default=ROOT / 'benchmarks/results/one_shot.json')
    add('--arms', nargs='+', choices=ARMS, default=['plain', 'uniform', 'rank'])
    add('--seeds', nargs='+', type=int, default=[0])
    add('--rise', nargs='+', type=float, default=[0.4], help='of all arms that perturb')
    add('--epochs', type=int, default=8)
    add('--table-only', action='store_true', help='train nothing, only print the table')
    add('--write', type=Path, help='with --table-only: also into this document')
    add('--fine-tune', nargs='*', type=int, default=[], help='epochs, at 40 and 20 %%')
    args = parser.parse_args()
    make, config = TASKS[args.network]
    if args.table_only:
        print(table(recorded(args.record)))
        if args.write:
            write_between_marks(args.write, table(recorded(args.record)))
        return 0
    if args.weights is None:
        parser.error('--weights is needed to train')
    task = make(config, args.weights, args.out / 'corrupted')
    for seed in args.seeds:
        for rise in args.rise:
            for name in args.arms:
                key = {
                    'network': args.network,
                    'arm': name,
                    'seed': seed,
                    'rise': None if ARMS[name].stage == 'plain' else rise,
                    'epochs': args.epochs,
                }
                if not any(key.items() <= run.items() for run in recorded(args.record)):
                    add_record(args.record, key | run_arm(task, ARMS[name], key, args))
    return 0


def run_arm(task: Any, arm: Arm, key: Mapping[str, Any], args: argparse.Namespace) -> dict:
    """Train, prune to all sizes, evaluate."""
    torch.manual_seed(key['seed'])
    model = task.dense().train()
    started = time.time()
    trained = train(task, model, arm, key, epochs=args.epochs * arm.epochs_factor)
    path = args.out / (re_safe('-'.join(str(value) for value in key.values())) + '.pth')
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {'state_dict': model.state_dict(), 'importance': trained.importance.state_dict()}, path
    )
    found: dict[str, Any] = {
        'date': str(date.today()),
        'machine': f'{platform.processor() or platform.machine()}, 1 thread',
        'torch': torch.__version__,
        'step_s': statistics.median(trained.step_s),
        'minutes': (time.time() - started) / 60,
        'logged': trained.logged,
        'clean': {},
        'choice': {},
        'mpc': {},
        'fine_tuned': {},
    }
    importance = trained.importance.state_dict()
    for ratio in (1.0, *KEEP_RATIOS):
        network = copy.deepcopy(model)
        if ratio < 1:
            prune(task, network, importance, ratio, trained.order)
        recalibrated(task, network, seed=key['seed'])
        found['clean'][str(ratio)] = task.clean(network, 'report')
        found['choice'][str(ratio)] = task.clean(network, 'choice')
        if str(ratio) in MPC_RATIOS:
            found['mpc'][str(ratio)] = task.mpc(network, 'report')
        for epochs in args.fine_tune if ratio in (0.4, 0.2) else ():
            tuned = copy.deepcopy(network)
            train(task, tuned, ARMS['plain'], key, epochs=epochs)
            recalibrated(task, tuned, seed=key['seed'])
            found['fine_tuned'][f'{ratio}/{epochs}'] = {
                'clean': task.clean(tuned, 'report'),
                'mpc': task.mpc(tuned, 'report'),
            }
        print(key, ratio, found['clean'][str(ratio)], found['mpc'].get(str(ratio)), flush=True)
    return found


@dataclass
class Trained:
    """What a training leaves besides the network.

    Attributes:
        importance: As observed over the last epoch.
        step_s: Time of each step.
        logged: Mean of each logged scalar, by epoch.
        order: Order in which channels go, of an elastic stage.
    """

    importance: TaylorImportance
    step_s: list[float] = field(default_factory=list)
    logged: dict[str, list[float]] = field(default_factory=dict)
    order: RemovalOrder | None = None


def train(task: Any, model: nn.Module, arm: Arm, key: Mapping[str, Any], *, epochs: int) -> Trained:
    """Train with a learning rate that falls as a cosine."""
    total = epochs * task.batches_an_epoch()
    optimizer = torch.optim.SGD(model.parameters(), **task.optimizer)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / total))
    )
    options = dict(arm.options)
    if arm.stage != 'plain':
        options |= {'rise': key['rise'], 'uniform_rise': key['rise']}
    hub = MessageHub.get_instance(f'one_shot_{time.time()}')  # where the wrapper logs
    wrapper = AdaSAPOptimWrapper(optimizer=optimizer, **options)
    wrapper.stage = arm.stage
    found = Trained(TaylorImportance(window=task.batches_an_epoch()))
    pruner = Pruner(
        model, task.example(), importance=found.importance, budget=ParamsBudget(keep_ratio=0.5)
    )
    wrapper.set_channels(channel_rows(model, pruner.groups))
    wrapper.gradient_observers.append(pruner.observe)
    stage = None
    if arm.elastic is not None:
        options = ElasticOptions.parse(arm.elastic).with_seed(key['seed'])
        stage = ElasticStage(pruner, wrapper, options, begin=0, end=total)
    soft = None
    if arm.soft is not None:
        limit, begin = arm.soft * pruner.dense_costs['budget'], task.batches_an_epoch()
        soft = SoftPruning(pruner, (), limit=limit, begin=begin, end=total)
    generator = torch.Generator().manual_seed(key['seed'])
    for epoch in range(epochs):
        losses = []
        for index, batch in enumerate(task.epoch(generator)):
            start = time.perf_counter()
            step = epoch * task.batches_an_epoch() + index
            if stage is not None:
                stage.begin_pass(step)
            if soft is not None:
                soft.begin_step(step, None)
            if wrapper.by_channel and index % SCORE_INTERVAL == 0:
                wrapper.set_scores(found.importance.scores(pruner.groups, model))
            losses.append(model.train_step(batch, wrapper)['loss'].item())
            schedule.step()
            if soft is not None:
                soft.end_step(step)
            found.step_s.append(time.perf_counter() - start)
        found.logged.setdefault('loss', []).append(statistics.fmean(losses))
        for name, buffer in hub.log_scalars.items():
            found.logged.setdefault(name, []).append(float(buffer.mean(len(losses))))
    found.order = None if stage is None else stage.order
    return found


def prune(
    task: Any,
    model: nn.Module,
    importance: Mapping[str, Any],
    ratio: float,
    order: RemovalOrder | None,
) -> None:
    """Prune at once to a share of the parameters, by an order or the importance observed."""
    criterion = TaylorImportance()
    criterion.load_state_dict(importance)
    pruner = Pruner(
        model, task.example(), importance=criterion, budget=ParamsBudget(keep_ratio=ratio)
    )
    pruner._observed = True
    pruner.prune_to(ratio * pruner.dense_costs['budget'], order=order)


def recalibrated(task: Any, model: nn.Module, *, seed: int) -> None:
    """Re-estimate batch norm's statistics on an epoch of training images."""
    batches = task.epoch(torch.Generator().manual_seed(1000 + seed))
    recalibrate(model, batches, forward=task.forward)
    model.train()


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Clean accuracy by share of the parameters, and mPC, of each run; in Markdown."""
    ratios = [str(ratio) for ratio in (1.0, *KEEP_RATIOS)]
    head = ['first stage', 'seed', 'rise', 'loss', *(f'{float(ratio):.0%}' for ratio in ratios)]
    rows = [[*head, *(f'mPC at {float(ratio):.0%}' for ratio in MPC_RATIOS)]]
    rows.append(['---'] * len(rows[0]))
    for run in runs:
        rise = run['logged'].get('train/rise')
        rows.append(
            [
                run['arm'],
                str(run['seed']),
                '' if rise is None else f'{rise[-1]:.2f}',
                f'{run["logged"]["loss"][-1]:.2f}',
                *(f'{run["clean"][ratio]:.1f}' for ratio in ratios),
                *(f'{run["mpc"][ratio]:.1f}' for ratio in MPC_RATIOS),
            ]
        )
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows) + '\n'


def recorded(path: Path) -> list[dict]:
    """The runs of a record."""
    return json.loads(path.read_text()) if path.is_file() else []


def add_record(path: Path, run: dict) -> None:
    """Add a run."""
    text = json.dumps([*recorded(path), run], indent=1)
    with atomic_write(path) as temporary:
        temporary.write_text(f'{text}\n')


def re_safe(name: str) -> str:
    """A file name."""
    return ''.join(c if c.isalnum() or c in '.-_' else '_' for c in name)


if __name__ == '__main__':
    sys.exit(main())
