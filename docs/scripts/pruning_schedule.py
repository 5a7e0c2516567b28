"""Draws the stages and the share of the budget aimed at: ``make_schedule`` itself.

python docs/scripts/pruning_schedule.py
"""

from __future__ import annotations

from pathlib import Path

from drawing import FIGURES, PALE, Data, blank, rounded, save

from adasap_det.hooks.schedule import make_schedule
from adasap_det.utils.plot_style import mark

KEEP = 0.4
ITERATIONS = 240
STAGES = ('plain', 'adaptive', 'uniform')


def data() -> Data:
    """Share of the dense cost aimed at in each iteration, and where each stage begins."""
    schedule = make_schedule(
        by_epoch=False,
        adaptive_begin=20,
        prune_begin=80,
        prune_steps=10,
        prune_interval=8,
        iters_per_epoch=40,
        max_iters=ITERATIONS,
    )
    share, shares, begins = 1.0, [], {}
    for iteration in range(ITERATIONS):
        cut = schedule.prune_step_before(iteration)
        if cut is not None:
            share = schedule.limit_after(cut, dense=1.0, final=KEEP)
        shares.append(share)
        begins.setdefault(schedule.stage(iteration), iteration)
    return {
        'share': rounded(shares),
        'begins': begins,
        'cuts': [i for i in range(ITERATIONS) if schedule.prune_step_before(i) is not None],
    }


def draw(found: Data, path: Path) -> None:
    """Write the image."""
    figure, axes = blank()
    look = mark(2)
    ends = [*list(found['begins'].values())[1:], ITERATIONS]
    for index, (stage, begin) in enumerate(found['begins'].items()):
        if index % 2:
            axes.axvspan(begin, ends[index], color=PALE, linewidth=0)
        axes.text((begin + ends[index]) / 2, 1.06, stage, ha='center')
    axes.step(range(ITERATIONS), found['share'], where='post', color=look.colour)
    axes.plot(
        found['cuts'],
        [found['share'][cut] for cut in found['cuts']],
        color=look.colour,
        marker='o',
        markersize=4,
        linestyle='',
        label='cuts, the last of which ends the adaptive stage',
    )
    axes.set_xlim(0, ITERATIONS)
    axes.set_ylim(0, 1.15)
    axes.set_xlabel('iteration')
    axes.set_ylabel('share of the dense cost')
    axes.legend(frameon=False, fontsize=9, loc='lower left')
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'pruning_schedule.svg')
