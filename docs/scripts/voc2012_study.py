"""Draws clean and corrupted AP50 of each arm of the VOC 2012 studies from the recorded results.

python docs/scripts/voc2012_study.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from drawing import FIGURES, Data, rounded, save, stacked
from matplotlib.axes import Axes

from adasap_det.utils.plot_style import mark

RESULTS = Path(__file__).parents[2] / 'benchmarks/results'
#: Title of each study: file of its results, prefix of its configs.
STUDIES = {
    '900 images, random flips only, 128 pixels: plain training has converged': (
        'voc2012.json', 'ssdlite128_voc2012_900',
    ),
    'the same networks on 220 other images': (
        'voc2012_second_set.json', 'ssdlite128_voc2012_900',
    ),
    'as the first, from another dense detector': (
        'voc2012_second_dense.json', 'ssdlite128_voc2012_900',
    ),
    "1,697 images, SSD's augmentation, 160 pixels: not converged": (
        'voc2012.json', 'ssdlite160_voc2012',
    ),
}  # fmt: skip
WHAT = {'p': 'clean (P)', 'mpc': 'corrupted (mPC)'}


def data() -> Data:
    """Mean, least and greatest by study, size and arm; the best arm under corruption first."""
    found: Data = {}
    for title, (file, network) in STUDIES.items():
        records = json.loads((RESULTS / file).read_text('utf-8'))
        found[title] = _study([r for r in records if r['network'] == network])
    return found


def _study(records: list[dict[str, Any]]) -> Data:
    found: Data = {}
    for keep in sorted({r['keep_ratio'] for r in records}, reverse=True):
        of_size = [r for r in records if r['keep_ratio'] == keep]
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
    """Write the figure."""
    figure, panels = stacked([0.9 + 0.26 * len(arms) for arms in found.values()])
    for axes, (title, arms) in zip(panels, found.items(), strict=True):
        _draw_study(axes, title, arms)
    panels[0].set_xlim(0)  # last, because it stops autoscaling of the upper limit
    panels[0].legend(frameon=False, fontsize=9, loc='upper right')
    panels[-1].set_xlabel('AP50, %: mean of the runs, band from the least to the greatest')
    save(figure, path, found)


def _draw_study(axes: Axes, title: str, arms: Data) -> None:
    rows = range(len(arms))
    for index, what in enumerate(WHAT.values()):
        look = mark(index)
        axes.hlines(
            rows,
            [arm['least'][index] for arm in arms.values()],
            [arm['greatest'][index] for arm in arms.values()],
            color=look.colour,
            alpha=0.4,
            lw=5,
        )
        axes.plot(
            [arm['mean'][index] for arm in arms.values()],
            rows,
            color=look.colour,
            marker=look.marker,
            ls='',
            label=what,
        )
    axes.set_title(title, fontsize=9, loc='left')
    axes.set_yticks(rows, [f'{arm} ({n["runs"]})' for arm, n in arms.items()], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis='x', alpha=0.3)


if __name__ == '__main__':
    draw(data(), FIGURES / 'voc2012_study.svg')
