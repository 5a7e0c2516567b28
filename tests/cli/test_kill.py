"""Runs of ``adasap-train`` ended by SIGKILL and resumed, on images.

Twenty random moments are in ``benchmarks/kill.py``.
"""

import signal

import pytest

from ..helpers.cli_runs import differences, load, prepare, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kill')
    prepare(folder)
    return folder


@pytest.fixture(scope='module')
def uninterrupted(folder, forks):
    done = train(folder, folder / 'alone', forks=forks)
    assert done.returncode == 0, done.stderr[-3000:]
    return load(folder / 'alone' / 'epoch_4.pth')


@pytest.mark.parametrize(
    'kill',
    ['iter 6', 'prune 1', 'iter 13', 'replace epoch_3.pth'],
    ids=['adaptive stage', 'while pruning', 'uniform stage', 'while saving'],
)
def test_killed_and_resumed_run_ends_in_the_same_weights(folder, forks, uninterrupted, kill):
    work_dir = folder / kill.replace(' ', '_')
    done = train(folder, work_dir, forks=forks, KILL=kill)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    assert not (work_dir / 'epoch_4.pth').exists()
    done = train(folder, work_dir, '--resume', forks=forks)
    assert done.returncode == 0, done.stderr[-3000:]
    assert differences(load(work_dir / 'epoch_4.pth'), uninterrupted) == []
