"""Channels alone against channels and whole blocks, at equal measured latency: one-shot accuracy.

Each dense network of the CIFAR-10 study is pruned by Taylor scores, without training, to several
predicted latencies: channels and blocks (``prune_blocks``), and channels alone. All are timed in
alternation; of both methods the networks nearest to a ratio of the dense network's measured latency
are timed again and compared. Batch-norm statistics are re-estimated on training images. Writes a
JSON file and prints the table of benchmarks/README.md.

    CIFAR10_ROOT=/data/cifar10/ python benchmarks/depth.py --out benchmarks/results/depth.json \
        --networks mobilenetv2_cifar10_5k=mobilenet.pth resnet18_w8_cifar10_5k=resnet.pth
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adasap_det import Pruner
from adasap_det.checkpoint.loading import load_model
from adasap_det.checkpoint.removed_blocks import removed_blocks
from adasap_det.pruning import LatencyBudget, TaylorImportance, count_macs, count_params
from adasap_det.pruning.budgets.knapsack import BlockChoice
from adasap_det.pruning.budgets.latency.network_timing import Forward, pruned_copy
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.utils.device import device_identity
from adasap_det.utils.io import atomic_write

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device('cpu')
SIZE = (32, 32)
IMAGES_FOR_SCORES, IMAGES_FOR_NORMS = 512, 2048
ASKED = (0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35)
"""Ratios of the predicted latency; the networks nearest to the measured ones are compared."""


@dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        network: Name of its config.
        keep_ratio: Ratio of the dense latency that was asked for; 1 for the dense network.
        method: 'dense', 'channels' or 'channels and blocks'.
        latency: Median milliseconds, timed in alternation with the others of the network.
        params, macs: Of the network.
        removed_blocks: Names.
        accuracy: Top-1 in per cent, batch-norm statistics re-estimated.
    """

    network: str
    keep_ratio: float
    method: str
    latency: float
    params: int
    macs: int
    removed_blocks: list[str]
    accuracy: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='+', required=True, metavar='NAME=CHECKPOINT')
    parser.add_argument('--keep-ratios', nargs='+', type=float, default=[0.6, 0.4])
    parser.add_argument('--round-to', type=int, default=8)
    parser.add_argument('--batch-size', type=int, default=16, help='images that are timed at once')
    parser.add_argument('--test-images', type=int, default=5000)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=60.0, help='time limit of each timing')
    parser.add_argument('--table', help='latency table (default: in ~/.cache)')
    parser.add_argument('--out', type=Path, required=True, metavar='JSON')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = []
    for network in args.networks:
        name, _, checkpoint = network.partition('=')
        rows += compare(name, checkpoint, args)
        content = {
            'device': device_identity(CPU),
            'batch_size': args.batch_size,
            'rows': [asdict(row) for row in rows],
        }
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps(content, indent=1), 'utf-8')
        Console(width=130).print(table(rows))
    return 0


def compare(name: str, checkpoint: str, args: argparse.Namespace) -> list[Row]:
    """All rows of one network."""
    dense, _ = load_model(
        Config.fromfile(ROOT / 'benchmarks/configs' / f'{name}_dense.py'), checkpoint
    )
    root = Path(os.environ.get('CIFAR10_ROOT', ROOT / 'data/cifar10'))
    train = read_images(root / 'train', max(IMAGES_FOR_SCORES, IMAGES_FOR_NORMS))
    test = read_images(root / 'test', args.test_images)
    inputs = example_image(SIZE)
    forward = Forward(inputs, args.batch_size, torch.float32, CPU)
    budget = LatencyBudget(
        keep_ratio=0.5, batch_size=args.batch_size, table=args.table, check=False
    )
    importance = TaylorImportance()
    pruner = Pruner(dense, inputs, importance=importance, budget=budget, prune_blocks=True)
    images, labels = (each[:IMAGES_FOR_SCORES].split(64) for each in train)
    dense.eval()  # the statistics of training
    pruner.observe_losses(
        cross_entropy(logits(dense, batch), wanted)
        for batch, wanted in zip(images, labels, strict=True)
    )
    groups, blocks = pruner.groups, pruner.blocks
    scores = importance.scores(groups, dense)
    choices = [
        BlockChoice(block.name, score, tuple(g.name for g in block.inner(groups)))
        for block, score in zip(
            blocks, importance.block_scores(blocks, groups, scores), strict=True
        )
    ]
    plans = {
        'channels': budget.plan(dense, groups, inputs),
        'channels and blocks': budget.plan(dense, groups, inputs, [b.name for b in blocks]),
    }

    def pruned(method: str, ratio: float) -> nn.Module | None:
        """None if the ratio cannot be reached."""
        plan = plans[method]
        try:
            kept = plan.select(
                scores,
                limit=ratio * plan.cost.cost(),
                round_to=args.round_to,
                min_keep_ratio=0.1,
                blocks=choices if method == 'channels and blocks' else (),
            )
        except ValueError:
            return None
        return pruned_copy(dense, groups, kept)

    tried = {(1.0, 'dense'): copy.deepcopy(dense)}
    for method in plans:
        for asked in ASKED:
            network = pruned(method, asked)
            if network is not None:
                tried[asked, method] = network
    timed = forward.time([copy.deepcopy(each) for each in tried.values()], seconds=args.seconds)
    latency = dict(zip(tried, timed, strict=True))
    whole = latency[1.0, 'dense']
    chosen = {(1.0, 'dense'): (1.0, 'dense')}
    for ratio in args.keep_ratios:
        for method in plans:
            # The nearest of all networks of a method by measured, not by predicted latency.
            near = [key for key in tried if key[1] == method]
            chosen[ratio, method] = min(near, key=lambda k: abs(latency[k] / whole - ratio))
    networks = {key: copy.deepcopy(tried[of]) for key, of in chosen.items()}
    times = forward.time([copy.deepcopy(n) for n in networks.values()], seconds=args.seconds)
    rows = []
    for ((ratio, method), network), latency in zip(networks.items(), times, strict=True):
        reestimate(network, train[0][:IMAGES_FOR_NORMS])
        rows.append(
            Row(
                network=name,
                keep_ratio=ratio,
                method=method,
                latency=latency,
                params=count_params(network),
                macs=count_macs(network, input_size=SIZE),
                removed_blocks=removed_blocks(network),
                accuracy=accuracy(network, *test),
            )
        )
    return rows


def read_images(folder: Path, count: int) -> tuple[Tensor, Tensor]:
    """Images of an image folder, equally many a class, in turn by class; uint8, and labels."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [sorted(path.iterdir())[: -(-count // len(classes))] for path in classes]
    pairs = [(f, label) for of_turn in zip(*files, strict=True) for label, f in enumerate(of_turn)]
    images = [torch.frombuffer(bytearray(Image.open(f).convert('RGB').tobytes()), dtype=torch.uint8)
              for f, _ in pairs[:count]]  # fmt: skip
    stacked = torch.stack(images).view(-1, *SIZE, 3).permute(0, 3, 1, 2)
    return stacked, torch.tensor([label for _, label in pairs[:count]])


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Outputs of a classifier of MMPretrain for RGB images of uint8."""
    normalise = model.data_preprocessor
    return model((images - normalise.mean) / normalise.std, mode='tensor')


@torch.no_grad()
def reestimate(model: nn.Module, images: Tensor) -> None:
    """Batch-norm statistics of the pruned network: means over batches of 128."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    model.train()
    for batch in images.split(128):
        logits(model, batch)
    model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1 in per cent."""
    model.eval()
    predicted = torch.cat([logits(model, batch).argmax(1) for batch in images.split(250)])
    return 100 * float((predicted == labels).float().mean())


def table(rows: Sequence[Row]) -> Table:
    """The rows as a table."""
    made = Table(title='One-shot top-1 at equal measured latency')
    for head in ('network', 'latency', 'of dense', 'method', 'blocks removed', 'parameters',
                 'MACs', 'top-1'):  # fmt: skip
        made.add_column(head)
    for row in rows:
        dense = next(r for r in rows if r.network == row.network and r.method == 'dense')
        made.add_row(
            row.network, f'{row.latency:.2f} ms', f'{row.latency / dense.latency:.1%}', row.method,
            str(len(row.removed_blocks)), f'{row.params / 1e6:.3f} M', f'{row.macs / 1e6:.2f} M',
            f'{row.accuracy:.1f} %',
        )  # fmt: skip
    return made


if __name__ == '__main__':
    sys.exit(main())
