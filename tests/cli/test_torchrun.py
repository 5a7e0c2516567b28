"""``tools/train.py`` under torchrun: ranks that are pruned in step, die, and go on."""

import re
import sys

import pytest

from ..helpers.cli_runs import TRAIN, differences, load, prepare, train

pytestmark = pytest.mark.slow

# Cuts before the first iteration after the first epoch and three later: one on either side of the
# second epoch's end with three ranks, right before and right after it with two.
CHANGES = (
    'train_cfg.update(max_epochs=3)',
    'pruning.update(prune_begin=1, prune_interval=3)',
    "custom_hooks.append(dict(type='HashHook'))",
)


def torchrun(ranks):
    # `--standalone` takes a port that is free.
    launcher = ('-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={ranks}')
    return (sys.executable, *launcher, TRAIN[-1])


def train_ranks(ranks, folder, work_dir, *options, **environ):
    launched = ('--launcher', 'pytorch', *options)
    return train(folder, work_dir, *launched, program=torchrun(ranks), **environ)


def hashes(work_dir, ranks):
    """Of each rank's parameters, which must be those of all."""
    found = [(work_dir / f'hash{rank}.txt').read_text() for rank in range(ranks)]
    assert found == found[:1] * ranks
    return found[0]


def cuts(done):
    """What the log says of each cut."""
    return re.findall(r'(Cut \d/2: .*)', done.stdout + done.stderr)


def test_three_ranks_stay_in_step_and_go_on_after_one_died(tmp_path):
    prepare(
        tmp_path,
        *CHANGES,
        # 6, 5 and 5 images a rank in batches of four: the last batch has two, one and one.
        "train_dataloader['sampler'].update(round_up=False)",
        # Else DDP sums three ranks in another order in the first iteration of the resumed run.
        'find_unused_parameters = True',
    )
    done = train_ranks(3, tmp_path, tmp_path / 'alone')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'GPU number: 3' in done.stdout
    assert 'RandomStateHook cannot' not in done.stdout
    assert len(cuts(done)) == 2

    done = train_ranks(3, tmp_path, tmp_path / 'run', KILL='iter 5', KILL_RANK='1')
    assert done.returncode == 1
    assert 'Signal 9 (SIGKILL) received' in done.stderr
    assert not (tmp_path / 'run/hash0.txt').exists()

    done = train_ranks(3, tmp_path, tmp_path / 'run', '--resume')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'resumed epoch: 2, iter: 4' in done.stdout
    assert len(cuts(done)) == 1
    assert hashes(tmp_path / 'run', 3) == hashes(tmp_path / 'alone', 3)
    assert differences(*(load(tmp_path / run / 'epoch_3.pth') for run in ('alone', 'run'))) == []


def test_two_ranks_that_ascend_together(tmp_path):
    prepare(
        tmp_path,
        *CHANGES,
        'train_dataloader.update(batch_size=3)',  # 3, 3 and 2 images of each rank's eight
        'optim_wrapper.update(sync_perturbation=True)',
    )
    done = train_ranks(2, tmp_path, tmp_path / 'alone')
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(cuts(done)) == 2

    checkpoint = str(tmp_path / 'alone/epoch_2.pth')
    done = train_ranks(2, tmp_path, tmp_path / 'run', '--resume', checkpoint)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(cuts(done)) == 1
    assert hashes(tmp_path / 'run', 2) == hashes(tmp_path / 'alone', 2)
