"""Draws what the demo shows, over five seeds: AP50 and mPC of both networks by size.

python docs/scripts/demo.py
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from drawing import FIGURES, Data, blank, rounded, save

from adasap_det.utils.plot_style import mark

RECORD = Path(__file__).parents[2] / 'benchmarks/results/demo.json'
METRICS = {'ap50': 'AP50, clean', 'mpc': 'mPC, corrupted'}
NETWORKS = {'plain': 0, 'elastic': 2}


def data() -> Data:
    """Ratio of the parameters, and means of AP50 and mPC by network; in percent."""
    runs = json.loads(RECORD.read_text('utf-8'))
    sizes = [[run['sizes'][i] for run in runs] for i in range(len(runs[0]['sizes']))]
    found: Data = {'kept': rounded(100 * size[0]['keep_ratio'] for size in sizes)}
    for network in NETWORKS:
        found[network] = {
            metric: rounded(fmean(run[metric][network] for run in size) for size in sizes)
            for metric in METRICS
        }
    tuned = [run['fine_tuned'] for run in runs]
    found['fine_tuned'] = {
        'ap50': rounded([fmean(run['AP50'] for run in tuned)]),
        'mpc': rounded([fmean(run['mPC'] for run in tuned)]),
    }
    return found


def draw(found: Data, path: Path) -> None:
    """Draw a line for each network and metric."""
    figure, axes = blank()
    for network, index in NETWORKS.items():
        look = mark(index)
        for metric, line in (('ap50', '-'), ('mpc', '--')):
            axes.plot(
                found['kept'], found[network][metric],
                color=look.colour, marker=look.marker, linestyle=line,
                label=f'{network}, {METRICS[metric]}',
            )  # fmt: skip
    look = mark(1)
    for metric in METRICS:
        axes.plot(
            found['kept'][-1:], found['fine_tuned'][metric],
            color=look.colour, marker=look.marker, linestyle='',
            label='plain, fine-tuned at this size' if metric == 'ap50' else None,
        )  # fmt: skip
    axes.set(
        xlabel='parameters kept, %', ylabel='%', xlim=(102, 18), ylim=(0, None),
        title='Drawn shapes: pruned at once, not fine-tuned',
    )  # fmt: skip
    axes.grid(axis='y', alpha=0.3)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'demo.svg')
