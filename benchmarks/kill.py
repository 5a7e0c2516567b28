"""Kill a training run with SIGKILL at random moments of its three stages, resume and compare.

The runs are those of tests/helpers/cli_runs.py, with six epochs of four iterations: the adaptive
stage up to the first of three prune steps, before iterations 8, 11 and 14, and the uniform stage
after the last. Each killed and resumed run must end bit for bit like the uninterrupted run:
weights, batch norm's statistics, state of optimizer and schedulers, kept channels and importances.

    python benchmarks/kill.py --kills 20 --seed 0 --out DIR
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.cli_runs import differences, load, prepare, train

ITERATIONS = 4  # per epoch
EPOCHS = 6
PRUNED_AT = (8, 11, 14)  # iterations
CHANGES = (
    f'train_cfg.update(max_epochs={EPOCHS})',
    f'pruning.update(prune_steps={len(PRUNED_AT)}, prune_interval={PRUNED_AT[1] - PRUNED_AT[0]})',
    "default_hooks['checkpoint'].update(save_best='auto')",
)
STAGES = {  # an iteration right after a prune step belongs to the pruning stage
    'adaptive': range(PRUNED_AT[0]),
    'pruning': range(PRUNED_AT[0], PRUNED_AT[-1] + 1),
    'uniform': range(PRUNED_AT[-1] + 1, EPOCHS * ITERATIONS),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Return 1 if a resumed run differs from the uninterrupted one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20, help='number of runs (default: 20)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the moments (default: 0)')
    parser.add_argument('--out', type=Path, required=True, help='folder for the runs')
    args = parser.parse_args(argv)

    prepare(args.out, *CHANGES)
    uninterrupted = args.out / 'uninterrupted'
    shutil.rmtree(uninterrupted, ignore_errors=True)
    done = train(args.out, uninterrupted)
    if done.returncode:
        raise RuntimeError(f'the uninterrupted run failed:\n{done.stderr[-3000:]}')
    last = f'epoch_{EPOCHS}.pth'
    expected = load(uninterrupted / last)

    print('| iteration | killed | stage | resumed from | equal |')
    print('| --- | --- | --- | --- | --- |', flush=True)
    failed = False
    for index, moment in enumerate(moments(args.kills, seed=args.seed)):
        work_dir = args.out / f'killed{index}'
        shutil.rmtree(work_dir, ignore_errors=True)
        iteration, place, source = kill_and_resume(args.out, work_dir, moment)
        different = differences(load(work_dir / last), expected)
        failed = failed or bool(different)
        if moment.startswith('prune'):
            iteration += 1  # its hooks had begun
        killed = describe(moment, place)
        stage = next(name for name, span in STAGES.items() if iteration in span)
        equal = f'no: {", ".join(different[:3])}' if different else 'yes'
        print(f'| {iteration} | {killed} | {stage} | {source} | {equal} |', flush=True)
    return int(failed)


def moments(kills: int, *, seed: int) -> list[str]:
    """Draw moments: in each prune step, while each kind of file is written, and in iterations.

    Returns:
        Values of ``KILL`` for ``tests/helpers/run_hooks.py``.
    """
    draw = random.Random(seed)
    chosen = [f'prune {step} {draw.randrange(1, 350)}' for step in range(len(PRUNED_AT))]
    chosen += [f'half epoch_{epoch}.pth' for epoch in draw.sample(range(1, EPOCHS), 2)]
    chosen += [f'replace epoch_{draw.randrange(1, EPOCHS)}.pth', 'half last_checkpoint']
    chosen += ['half best_pascal_voc_mAP_epoch_2.pth']
    spans = cycle(STAGES.values())
    while len(chosen) < kills:
        chosen.append(f'iter {draw.choice(next(spans))} {draw.random():.4f}')
    return chosen[:kills]


def describe(moment: str, place: str) -> str:
    """Describe a moment in words."""
    how, what, *tensors = moment.split()
    if how == 'iter':
        return f'in `{place}`'
    if how == 'prune':
        return f'prune step {int(what) + 1} of {len(PRUNED_AT)}, {tensors[0]} tensors pruned'
    written = {'half': 'half-written', 'replace': 'written under its temporary name'}
    return f'`{what}` {written[how]}'


def kill_and_resume(folder: Path, work_dir: Path, moment: str) -> tuple[int, str, str]:
    """Kill and resume a run.

    Returns:
        Iteration and function in which it was killed, and where it resumed.
    """
    note = folder / 'note.txt'
    note.unlink(missing_ok=True)
    done = train(folder, work_dir, KILL=moment, KILL_NOTE=str(note))
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(f'{moment}: the run was not killed\n{done.stderr[-3000:]}')
    done = train(folder, work_dir, '--resume')
    if done.returncode:
        raise RuntimeError(f'{moment}: resuming failed\n{done.stderr[-3000:]}')
    resumed = re.search(r'resumed epoch: (\d+), iter: \d+', done.stdout + done.stderr)
    iteration, place = note.read_text().split()
    return int(iteration), place, f'epoch {resumed[1]}' if resumed else 'the start'


if __name__ == '__main__':
    sys.exit(main())
