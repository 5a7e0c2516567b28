"""Draws accuracy by size right after pruning, from the study of one-shot pruning.

python docs/scripts/one_shot.py
"""

from __future__ import annotations

import json
from pathlib import Path

from drawing import FIGURES, Data, blank, rounded, save

from adasap_det.utils.plot_style import mark

RECORD = Path(__file__).parents[2] / 'benchmarks/results/one_shot.json'
NETWORK, SEED = 'mobilenetv2_cifar10_5k', 0
#: Label of each arm of the study.
ARMS = {
    'elastic': 'elastic: radii by rank, channels removed',
    'rank': 'radii by rank',
    'uniform': 'uniform radius',
    'plain': 'plain training',
}


def data() -> Data:
    """Share of the parameters and top-1 by arm, both in percent, of one seed."""
    runs = {
        run['arm']: run['clean']
        for run in json.loads(RECORD.read_text('utf-8'))
        if (run['network'], run['seed']) == (NETWORK, SEED) and run['rise'] in (None, 0.4)
    }
    return {
        arm: {
            'share': rounded(100 * float(ratio) for ratio in runs[arm]),
            'top1': rounded(runs[arm].values()),
        }
        for arm in ARMS
    }


def draw(found: Data, path: Path) -> None:
    """Draw one line an arm."""
    figure, axes = blank()
    for index, (arm, label) in enumerate(ARMS.items()):
        look = mark(index + 1)
        axes.plot(
            found[arm]['share'], found[arm]['top1'],
            color=look.colour, marker=look.marker, label=label,
        )  # fmt: skip
    axes.set(
        xlabel='parameters kept, %', ylabel='top-1, %', xlim=(102, 18),
        title='MobileNetV2, CIFAR-10: pruned at once, not fine-tuned',
    )  # fmt: skip
    axes.grid(axis='y', alpha=0.3)
    axes.legend(frameon=False)
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'one_shot.svg')
