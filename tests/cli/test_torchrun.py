"""``tools/train.py`` under torchrun: ranks prune in step, are killed, and resume."""

import re
import sys

import pytest

from ..helpers.cli_runs import TRAIN, differences, load, prepare, train

pytestmark = pytest.mark.slow

# Prune steps before the first iteration of the second epoch and three iterations later: with three
# ranks before and after the second epoch's end, with two right before and right after it.
CHANGES = (
    'train_cfg.update(max_epochs=3)',
    'pruning.update(prune_begin=1, prune_interval=3)',
    "custom_hooks.append(dict(type='HashHook'))",
)


def torchrun(ranks):
    # `--standalone` chooses a free port.
    launcher = ('-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={ranks}')
    return (sys.executable, *launcher, TRAIN[-1])


def train_ranks(ranks, folder, work_dir, *options, **environ):
    launched = ('--launcher', 'pytorch', *options)
    return train(folder, work_dir, *launched, program=torchrun(ranks), **environ)


def hashes(work_dir, ranks):
    """Hash of the parameters, which must be equal on all ranks."""
    found = [(work_dir / f'hash{rank}.txt').read_text() for rank in range(ranks)]
    assert found == found[:1] * ranks
    return found[0]


def prune_steps(done):
    """Log lines of the prune steps."""
    return re.findall(r'(Prune step \d/2: .*)', done.stdout + done.stderr)


def test_three_ranks_stay_equal_and_resume_after_one_is_killed(tmp_path):
    prepare(
        tmp_path,
        *CHANGES,
        # 6, 5 and 5 images a rank in batches of four: the last batch has two, one and one.
        "train_dataloader['sampler'].update(round_up=False)",
        # Else DDP sums the three ranks in another order in the first resumed iteration.
        'find_unused_parameters = True',
    )
    done = train_ranks(3, tmp_path, tmp_path / 'alone')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'GPU number: 3' in done.stdout
    assert 'RandomStateHook cannot' not in done.stdout
    assert len(prune_steps(done)) == 2

    done = train_ranks(3, tmp_path, tmp_path / 'run', KILL='iter 5', KILL_RANK='1')
    assert done.returncode == 1
    assert 'Signal 9 (SIGKILL) received' in done.stderr
    assert not (tmp_path / 'run/hash0.txt').exists()

    done = train_ranks(3, tmp_path, tmp_path / 'run', '--resume')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'resumed epoch: 2, iter: 4' in done.stdout
    assert len(prune_steps(done)) == 1
    assert hashes(tmp_path / 'run', 3) == hashes(tmp_path / 'alone', 3)
    assert differences(*(load(tmp_path / run / 'epoch_3.pth') for run in ('alone', 'run'))) == []


def test_two_ranks_with_a_synchronised_perturbation(tmp_path):
    prepare(
        tmp_path,
        *CHANGES,
        'train_dataloader.update(batch_size=3)',  # 3, 3 and 2 images of each rank's eight
        'optim_wrapper.update(sync_perturbation=True)',
    )
    done = train_ranks(2, tmp_path, tmp_path / 'alone')
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(prune_steps(done)) == 2

    checkpoint = str(tmp_path / 'alone/epoch_2.pth')
    done = train_ranks(2, tmp_path, tmp_path / 'run', '--resume', checkpoint)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(prune_steps(done)) == 1
    assert hashes(tmp_path / 'run', 2) == hashes(tmp_path / 'alone', 2)
