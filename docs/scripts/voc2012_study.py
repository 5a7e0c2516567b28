"""Draws clean and corrupted AP50 of each arm of the study on VOC 2012, as it was recorded.

python docs/scripts/voc2012_study.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from drawing import FIGURES, Data, blank, rounded, save

from adasap_det.robustness.report.figures.palette import mark

RESULTS = Path(__file__).parents[2] / 'benchmarks/results/voc2012.json'
WHAT = {'p': 'clean (P)', 'mpc': 'corrupted (mPC)'}


def data() -> Data:
    """Of each size, the best arm under corruption first: mean, least and greatest P and mPC."""
    found: Data = {}
    records = json.loads(RESULTS.read_text('utf-8'))
    for keep in sorted({r['keep'] for r in records}, reverse=True):
        of_size = [r for r in records if r['keep'] == keep]
        arms = [_arm(arm, of_size) for arm in dict.fromkeys(r['arm'] for r in of_size)]
        found |= {f'{keep:.0%}, {name}': arm for name, arm in sorted(arms, key=_corrupted)}
    return found


def _arm(name: str, records: list[dict[str, Any]]) -> tuple[str, Data]:
    runs = [[record[key] for key in WHAT] for record in records if record['arm'] == name]
    columns = list(zip(*runs, strict=True))
    return name, {
        'runs': len(runs),
        'mean': rounded(map(statistics.mean, columns)),
        'least': rounded(map(min, columns)),
        'greatest': rounded(map(max, columns)),
    }


def _corrupted(arm: tuple[str, Data]) -> float:
    return -arm[1]['mean'][-1]


def draw(found: Data, path: Path) -> None:
    """Write the picture."""
    figure, axes = blank(height=1.2 + 0.26 * len(found))
    rows = range(len(found))
    for index, what in enumerate(WHAT.values()):
        look = mark(index)
        axes.hlines(
            rows,
            [arm['least'][index] for arm in found.values()],
            [arm['greatest'][index] for arm in found.values()],
            color=look.colour,
            alpha=0.4,
            lw=5,
        )
        axes.plot(
            [arm['mean'][index] for arm in found.values()],
            rows,
            color=look.colour,
            marker=look.marker,
            ls='',
            label=what,
        )
    axes.set_yticks(rows, [f'{arm} ({n["runs"]})' for arm, n in found.items()], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel('AP50, %: mean of the runs, band from the least to the greatest')
    axes.set_xlim(0)
    axes.grid(axis='x', alpha=0.3)
    axes.legend(frameon=False, fontsize=9, loc='upper left')
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'voc2012_study.svg')
