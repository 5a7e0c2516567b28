"""Latency budgets: predicted and measured latency, and importance kept at equal latency.

Each detector is pruned to the same latency by the knapsack over measured latencies, greedily by
importance per MACs, and by Torch-Pruning's magnitude pruner, uniform and global. The width of the
last three is searched until they take as long as the knapsack's network, timed in alternation. All
networks of a detector are then timed in alternation. Prints the tables of benchmarks/README.md.

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
MAX_TRIALS = 5
Kept = Mapping[str, Tensor]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--detectors', nargs='+', default=list(DETECTORS), choices=DETECTORS)
    parser.add_argument('--keep-ratios', nargs='+', type=float, default=[0.5])
    parser.add_argument('--round-to', type=int, default=8)
    parser.add_argument(
        '--seconds', type=float, default=30.0, help='time limit of timing a detector'
    )
    parser.add_argument('--table', help='latency table (default: in ~/.cache)')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    console = Console(width=110)
    console.print(device_identity(CPU))
    for name in args.detectors:
        console.print(compare(name, args))
    return 0


def compare(name: str, args: argparse.Namespace) -> Table:
    """Compare all methods of pruning one detector."""
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
    for keep_ratio in args.keep_ratios:
        limit = keep_ratio * dense

        def macs_greedy(ratio: float) -> Kept:
            return select_channels(
                groups, scores, macs, limit=ratio * macs.cost(), round_to=args.round_to
            )

        def peer(ratio: float, *, global_pruning: bool) -> Kept:
            return torch_pruning(
                model, groups, scores,
                size=size, keep_ratio=ratio, round_to=args.round_to, global_pruning=global_pruning,
            )  # fmt: skip

        methods: dict[str, Callable[[float], Kept]] = {
            'MACs-greedy': macs_greedy,
            'Torch-Pruning, uniform': partial(peer, global_pruning=False),
            'Torch-Pruning, global': partial(peer, global_pruning=True),
        }
        chosen = plan.select(scores, limit=limit, round_to=args.round_to)
        rows[f'{keep_ratio:.0%} knapsack'] = chosen
        reference = pruned_copy(model, groups, chosen)
        for method, select in methods.items():
            found = match_latency(
                select, cost, limit, partial(relative_time, reference, model, groups, forward)
            )
            if found is not None:
                rows[f'{keep_ratio:.0%} {method}'] = found
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
    total = sum(float(score.sum()) for score in scores)
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
            total
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
            f'{left / total:.1%}',
        )
    return table


def build(config: str) -> nn.Module:
    """Build a detector with random weights whose channels differ in norm, as trained ones do."""
    cfg = Config.fromfile(ROOT / 'configs' / config)
    cfg.model.backbone.pop('init_cfg', None)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                spread = torch.rand(len(module.weight), 1, 1, 1, generator=generator)
                module.weight *= 0.2 + 1.6 * spread
    return model


def counts(kept: Kept) -> dict[str, int]:
    """Number of channels left in each group."""
    return {name: len(channels) for name, channels in kept.items()}


def match_latency(
    select: Callable[[float], Kept],
    cost: LatencyCost,
    limit: float,
    relative_time: Callable[[Kept], float],
) -> Kept | None:
    """Search the channels with which a method takes as long as the knapsack's network.

    Args:
        select: Channels that the method keeps at a keep ratio.
        cost: Predicts the latency.
        limit: Latency to start from.
        relative_time: Measured time divided by that of the knapsack's network.
    """
    target = limit
    tried: list[tuple[float, Kept]] = []
    while len(tried) < MAX_TRIALS:
        found = search(select, lambda kept: cost.cost(counts(kept)), target)
        if found is None:
            break
        ratio = relative_time(found)
        tried.append((abs(ratio - 1), found))
        if tried[-1][0] <= TOLERANCE:
            break
        target /= ratio
    return min(tried, key=itemgetter(0))[1] if tried else None


def relative_time(
    reference: nn.Module,
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    forward: Forward,
    kept: Kept,
) -> float:
    """Measure a pruned network's time divided by that of a reference, timed in alternation."""
    one, other = forward.time([reference, pruned_copy(model, groups, kept)], seconds=3.0)
    return other / one


def search(
    select: Callable[[float], Kept], latency: Callable[[Kept], float], limit: float
) -> Kept | None:
    """Bisect for the largest keep ratio of a method whose latency is within the limit."""
    low, high = 0.02, 1.0
    best: Kept | None = None
    fastest = float('inf')
    for _ in range(7):
        middle = (low + high) / 2
        try:
            kept = select(middle)
        except ValueError:  # not reachable by this method
            low = middle
            continue
        fastest = min(fastest, latency(kept))
        if latency(kept) <= limit:
            best, low = kept, middle
        else:
            high = middle
    if best is None:
        print(
            f'not fast enough at any keep ratio: {fastest:.1f} ms, limit {limit:.1f} ms',
            file=sys.stderr,
        )
    return best


def torch_pruning(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    scores: Sequence[Tensor],
    *,
    size: tuple[int, int],
    keep_ratio: float,
    round_to: int,
    global_pruning: bool,
) -> Kept:
    """Keep as many channels of each group as Torch-Pruning's magnitude pruner does.

    The channels themselves are the strongest by our own score, so that Torch-Pruning loses no
    importance by ranking with another score.
    """
    peer_model = copy.deepcopy(model)
    names = dict(peer_model.named_modules())
    pruned = {names[layer] for group in groups for layer in group.layers}
    pruner = tp.pruner.MagnitudePruner(
        peer_model,
        like_parameters(example_image(size), peer_model),
        importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer='mean'),
        global_pruning=global_pruning,
        pruning_ratio=1 - keep_ratio,
        max_pruning_ratio=0.9,
        round_to=round_to,
        ignored_layers=[
            module
            for module in peer_model.modules()
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module not in pruned
        ],
        forward_fn=trace_forward,
    )
    before = {module: module.weight.shape[0] for module in pruned}
    pruner.step()
    kept = {}
    for group, score in zip(groups, scores, strict=True):
        layer = names[group.layers[0]]
        removed = before[layer] - layer.weight.shape[0]
        kept[group.name] = ascending_channels(group, score)[removed:].sort().values
    return kept


if __name__ == '__main__':
    sys.exit(main())
