"""Runs that end by a killed data loader worker or by a full disk."""

import re

import pytest
import torch
from mmengine.config import Config

from adasap_det.cli.train_command import warn_of_a_single_checkpoint

from ..helpers.cli_runs import differences, load, prepare, train


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('faults')
    prepare(folder)
    return folder


@pytest.mark.slow
def test_run_with_a_killed_worker_fails_with_its_name_and_resumes(folder, forks):
    """As if the kernel had killed it for its memory."""
    done = train(folder, folder / 'alone', forks=forks)
    assert done.returncode == 0, done.stderr[-3000:]

    run = folder / 'worker'
    # In the second iteration of the second epoch.
    done = train(folder, run, forks=forks, KILL='worker 5')
    assert done.returncode == 1, done.stderr[-3000:]
    # The loader's clean-up may print it again.
    assert re.search(
        r'^RuntimeError: DataLoader worker \(pid.* is killed by signal: Killed', done.stderr, re.M
    ), done.stderr[-3000:]
    assert sorted(path.name for path in run.glob('*.pth*')) == ['epoch_1.pth']
    assert torch.load(run / 'epoch_1.pth', weights_only=True)['meta']['iter'] == 4

    done = train(folder, run, '--resume', forks=forks)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'resumed epoch: 1, iter: 4' in done.stdout
    assert differences(load(run / 'epoch_4.pth'), load(folder / 'alone' / 'epoch_4.pth')) == []


@pytest.mark.slow
def test_full_disk_is_reported_and_the_earlier_checkpoint_is_kept(folder, forks):
    run = folder / 'full'
    done = train(folder, run, forks=forks, FULL_DISK='epoch_2')
    assert done.returncode == 1, done.stderr[-3000:]
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith('OSError: [Errno 28] No space left on device while writing')
    assert last_line.endswith(f"'{run / 'epoch_2.pth'}'")

    # Neither a part of the second checkpoint nor its temporary file is left.
    assert sorted(path.name for path in run.glob('*epoch*')) == ['epoch_1.pth']
    noted = (run / 'last_checkpoint').read_text()
    assert noted == str(run / 'epoch_1.pth')
    assert torch.load(noted, weights_only=True)['meta']['iter'] == 4


@pytest.mark.parametrize(('kept', 'warns'), [(1, True), (2, False), (-1, False), (None, False)])
def test_warning_if_only_one_checkpoint_is_kept(monkeypatch, kept, warns):
    """MMEngine deletes it before it writes the next: the test above would leave none."""
    logged = []
    monkeypatch.setattr(
        'adasap_det.cli.train_command.print_log', lambda text, **_: logged.append(text)
    )
    hooks = {} if kept is None else dict(checkpoint=dict(max_keep_ckpts=kept))
    warn_of_a_single_checkpoint(Config(dict(default_hooks=hooks)))
    assert bool(logged) == warns
    assert all('max_keep_ckpts=1: the old checkpoint is removed before' in text for text in logged)
