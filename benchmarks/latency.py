"""Latency budgets: predicted against measured, and importance kept at equal measured latency.

Each detector is cut to the same budgets by the knapsack over measured latencies, by importance
alone down to the same latency (MACs-greedy), and by Torch-Pruning's magnitude pruner, uniform and
global. Each of these is timed beside the knapsack's choice, and its width searched until it takes
as long. All networks of a detector are then timed in turns. Prints the tables of
benchmarks/README.md.

    python benchmarks/latency.py --threads 2
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import torch
import torch_pruning as tp
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from adasap_det.pruning import (
    LatencyBudget,
    MACsBudget,
    MagnitudeImportance,
    count_params,
    find_channel_groups,
    prune_channels,
    select_channels,
)
from adasap_det.pruning.budgets.cost import num_proposals
from adasap_det.pruning.budgets.latency import LatencyCost
from adasap_det.pruning.budgets.latency.latency_budget import TOLERANCE
from adasap_det.pruning.budgets.latency.network_timing import Forward, pruned_copy
from adasap_det.pruning.budgets.selection import ascending_channels
from adasap_det.pruning.graph.channel_group import ChannelGroup
from adasap_det.pruning.graph.tracing import example_image, like_parameters, trace_forward
from adasap_det.utils.device import device_identity
from adasap_det.utils.timing import time_calls

ROOT = Path(__file__).resolve().parents[1]
DETECTORS = {
    'SSDLite-MobileNetV2': ('ssdlite/ssdlite224_mobilenetv2_1xb16-90e_voc0712.py', (320, 320)),
    'SSD300-VGG16': ('ssd/ssd300_vgg16_8xb8-24e_voc0712.py', (300, 300)),
    'SSD512-ResNet-50': ('ssd/ssd512_r50_8xb16-800e_voc0712.py', (512, 512)),
    'RetinaNet-R50-FPN': ('retinanet/retinanet_r50_fpn_1x_voc0712.py', (320, 512)),
}
CPU = torch.device('cpu')
TRIES = 5
Kept = Mapping[str, Tensor]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--detectors', nargs='+', default=list(DETECTORS), choices=DETECTORS)
    parser.add_argument('--keeps', nargs='+', type=float, default=[0.5])
    parser.add_argument('--round-to', type=int, default=8)
    parser.add_argument('--seconds', type=float, default=30.0, help='of timing a detector')
    parser.add_argument('--table', help='latency table (default: in ~/.cache)')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    console = Console(width=110)
    console.print(device_identity(CPU))
    for name in args.detectors:
        console.print(compare(name, args))
    return 0


def compare(name: str, args: argparse.Namespace) -> Table:
    """All ways of pruning one detector."""
    config, size = DETECTORS[name]
    model = build(config)
    groups = find_channel_groups(model, example_image(size)).groups
    scores = MagnitudeImportance().scores(groups, model)
    budget = LatencyBudget(keep_ratio=0.5, table=args.table)
    plan = budget.plan(model, groups, example_image(size))
    cost = plan.cost
    macs = MACsBudget(keep_ratio=0.5).plan(model, groups, example_image(size)).cost
    dense = cost.cost()
    forward = Forward(example_image(size), 1, torch.float32, CPU)
    rows: dict[str, Kept | None] = {'dense': None}
    for keep in args.keeps:
        limit = keep * dense

        def select(share: float) -> Kept:
            return select_channels(
                groups, scores, macs, limit=share * macs.cost(), round_to=args.round_to
            )

        def peer(share: float, *, everywhere: bool) -> Kept:
            return torch_pruning(
                model, groups, scores,
                size=size, share=share, round_to=args.round_to, everywhere=everywhere,
            )  # fmt: skip

        ways: dict[str, Callable[[float], Kept]] = {
            'MACs-greedy': select,
            'Torch-Pruning, uniform': partial(peer, everywhere=False),
            'Torch-Pruning, global': partial(peer, everywhere=True),
        }
        chosen = plan.select(scores, limit=limit, round_to=args.round_to)
        rows[f'{keep:.0%} knapsack'] = chosen
        reference = pruned_copy(model, groups, chosen)
        for way, at in ways.items():
            found = hold(at, cost, limit, partial(beside, reference, model, groups, forward))
            if found is not None:
                rows[f'{keep:.0%} {way}'] = found
    networks = {}
    for row, kept in rows.items():
        networks[row] = copy.deepcopy(model)
        if kept is not None:
            prune_channels(networks[row], groups, kept)
    image, rois = example_image(size), num_proposals(model)
    times = time_calls(
        {
            row: (lambda net=network: trace_forward(net, image, num_rois=rois))
            for row, network in networks.items()
        },
        device=CPU,
        rounds=10,
        seconds=args.seconds,
        most=400,
    )
    whole = sum(float(score.sum()) for score in scores)
    table = Table(title=f'{name}, {size[0]} x {size[1]}, medians')
    for head in (
        '',
        'parameters',
        'predicted ms',
        'measured ms',
        'error',
        'of dense',
        'importance kept',
    ):
        table.add_column(head, justify='right' if head else 'left')
    for row, kept in rows.items():
        predicted = dense if kept is None else cost.cost(counts(kept))
        left = (
            whole
            if kept is None
            else sum(float(s[kept[g.name]].sum()) for g, s in zip(groups, scores, strict=True))
        )
        table.add_row(
            row,
            f'{count_params(networks[row]) / 1e6:.2f} M',
            f'{predicted:.1f}',
            f'{times[row]:.1f}',
            f'{predicted / times[row] - 1:+.1%}',
            f'{times[row] / times["dense"]:.1%}',
            f'{left / whole:.1%}',
        )
    return table


def build(config: str) -> nn.Module:
    """A detector with random weights; norms of different scales, so that channels differ."""
    cfg = Config.fromfile(ROOT / 'configs' / config)
    cfg.model.backbone.pop('init_cfg', None)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):  # channels of different weight, as trained ones are
                spread = torch.rand(len(module.weight), 1, 1, 1, generator=generator)
                module.weight *= 0.2 + 1.6 * spread
    return model


def counts(kept: Kept) -> dict[str, int]:
    """Channels left by group."""
    return {name: len(channels) for name, channels in kept.items()}


def hold(
    at: Callable[[float], Kept], cost: LatencyCost, limit: float, beside: Callable[[Kept], float]
) -> Kept | None:
    """The setting of a way that takes as long as the knapsack's choice, timed beside it."""
    target = limit
    tried: list[tuple[float, Kept]] = []
    while len(tried) < TRIES:
        found = search(at, lambda kept: cost.cost(counts(kept)), target)
        if found is None:
            break
        ratio = beside(found)
        tried.append((abs(ratio - 1), found))
        if tried[-1][0] <= TOLERANCE:
            break
        target /= ratio
    return min(tried, key=itemgetter(0))[1] if tried else None


def beside(
    reference: nn.Module,
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    forward: Forward,
    kept: Kept,
) -> float:
    """Time of a cut through that of another network, timed in turns."""
    one, other = forward.time([reference, pruned_copy(model, groups, kept)], seconds=3.0)
    return other / one


def search(
    at: Callable[[float], Kept], latency: Callable[[Kept], float], limit: float
) -> Kept | None:
    """The least pruning of a way whose latency is within the limit, by bisection of its knob."""
    low, high = 0.02, 1.0
    best: Kept | None = None
    fastest = float('inf')
    for _ in range(7):
        middle = (low + high) / 2
        try:
            kept = at(middle)
        except ValueError:  # cannot be reached
            low = middle
            continue
        fastest = min(fastest, latency(kept))
        if latency(kept) <= limit:
            best, low = kept, middle
        else:
            high = middle
    if best is None:
        print(f'not fast enough at any setting: {fastest:.1f} of {limit:.1f} ms', file=sys.stderr)
    return best


def torch_pruning(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    scores: Sequence[Tensor],
    *,
    size: tuple[int, int],
    share: float,
    round_to: int,
    everywhere: bool,
) -> Kept:
    """As many channels of each group as Torch-Pruning's magnitude pruner leaves.

    Which ones is for our own score to say: their strongest, so that the peer loses no importance
    by ranking with another score.
    """
    shadow = copy.deepcopy(model)
    names = dict(shadow.named_modules())
    pruned = {names[layer] for group in groups for layer in group.layers}
    pruner = tp.pruner.MagnitudePruner(
        shadow,
        like_parameters(example_image(size), shadow),
        importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer='mean'),
        global_pruning=everywhere,
        pruning_ratio=1 - share,
        max_pruning_ratio=0.9,
        round_to=round_to,
        ignored_layers=[
            module
            for module in shadow.modules()
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module not in pruned
        ],
        forward_fn=trace_forward,
    )
    before = {module: module.weight.shape[0] for module in pruned}
    pruner.step()
    kept = {}
    for group, score in zip(groups, scores, strict=True):
        layer = names[group.layers[0]]
        gone = before[layer] - layer.weight.shape[0]
        kept[group.name] = ascending_channels(group, score)[gone:].sort().values
    return kept


if __name__ == '__main__':
    sys.exit(main())
