"""Draws the stages and the target cost ratio over a run, computed by ``make_schedule``.

python docs/scripts/pruning_schedule.py
"""

from __future__ import annotations

from pathlib import Path

from drawing import FIGURES, PALE, Data, blank, rounded, save

from adasap_det.hooks.schedule import make_schedule
from adasap_det.utils.plot_style import mark

KEEP_RATIO = 0.4
ITERATIONS = 240
STAGES = ('plain', 'adaptive', 'uniform')


def data() -> Data:
    """Target ratio of the dense cost at each iteration, and where each stage begins."""
    schedule = make_schedule(
        by_epoch=False,
        adaptive_begin=20,
        prune_begin=80,
        prune_steps=10,
        prune_interval=8,
        iters_per_epoch=40,
        max_iters=ITERATIONS,
    )
    ratio, ratios, begins = 1.0, [], {}
    for iteration in range(ITERATIONS):
        step = schedule.prune_step_before(iteration)
        if step is not None:
            ratio = schedule.limit_after(step, dense=1.0, final=KEEP_RATIO)
        ratios.append(ratio)
        begins.setdefault(schedule.stage(iteration), iteration)
    return {
        'ratio': rounded(ratios),
        'begins': begins,
        'prune_steps': [i for i in range(ITERATIONS) if schedule.prune_step_before(i) is not None],
    }


def draw(found: Data, path: Path) -> None:
    """Write the figure."""
    figure, axes = blank()
    look = mark(2)
    ends = [*list(found['begins'].values())[1:], ITERATIONS]
    for index, (stage, begin) in enumerate(found['begins'].items()):
        if index % 2:
            axes.axvspan(begin, ends[index], color=PALE, linewidth=0)
        axes.text((begin + ends[index]) / 2, 1.06, stage, ha='center')
    axes.step(range(ITERATIONS), found['ratio'], where='post', color=look.colour)
    axes.plot(
        found['prune_steps'],
        [found['ratio'][step] for step in found['prune_steps']],
        color=look.colour,
        marker='o',
        markersize=4,
        linestyle='',
        label='prune steps; the last one ends the adaptive stage',
    )
    axes.set_xlim(0, ITERATIONS)
    axes.set_ylim(0, 1.15)
    axes.set_xlabel('iteration')
    axes.set_ylabel('ratio of the dense cost')
    axes.legend(frameon=False, fontsize=9, loc='lower left')
    save(figure, path, found)


if __name__ == '__main__':
    draw(data(), FIGURES / 'pruning_schedule.svg')
