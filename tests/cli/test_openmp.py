"""Waiting of OpenMP's threads in a training on a CPU."""

import os
import subprocess
import sys

import pytest

from adasap_det.cli import openmp

NAMES = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'OMP_NUM_THREADS')


@pytest.fixture
def untouched(monkeypatch):
    """As in a process that is about to import PyTorch, on a machine without GPU."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, 'torch')
    monkeypatch.setattr(openmp, 'has_gpu', lambda: False)
    monkeypatch.setattr(sys, 'platform', 'linux')


def test_threads_sleep_on_a_cpu(untouched):
    assert openmp.let_threads_sleep().startswith('OMP_WAIT_POLICY=PASSIVE: ')
    assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'


@pytest.mark.parametrize('name', NAMES)
def test_settings_of_the_user_are_kept(untouched, monkeypatch, name):
    monkeypatch.setenv(name, '3')
    assert openmp.let_threads_sleep() is None
    assert os.environ.get('OMP_WAIT_POLICY') == ('3' if name == 'OMP_WAIT_POLICY' else None)


def test_nothing_changes_with_a_gpu_or_after_the_import(untouched, monkeypatch):
    monkeypatch.setattr(openmp, 'has_gpu', lambda: True)
    assert openmp.let_threads_sleep() is None
    monkeypatch.setattr(openmp, 'has_gpu', lambda: False)
    monkeypatch.setitem(sys.modules, 'torch', object())
    assert openmp.let_threads_sleep() is None
    assert 'OMP_WAIT_POLICY' not in os.environ


@pytest.mark.parametrize('system', ['win32', 'darwin'])
def test_nothing_changes_on_other_systems(untouched, monkeypatch, system):
    monkeypatch.setattr(sys, 'platform', system)
    assert openmp.let_threads_sleep() is None
    assert 'OMP_WAIT_POLICY' not in os.environ


@pytest.mark.parametrize(
    ('files', 'found'),
    [
        (['nvidia0'], True),
        (['kfd'], True),
        (['dxg'], True),
        (['nvidiactl', 'dri'], False),
        ([], False),
    ],
)
def test_gpus_are_found_by_their_device_files(tmp_path, files, found):
    for name in files:
        (tmp_path / name).touch()
    assert openmp.has_gpu(tmp_path) is found


@pytest.mark.skipif(sys.platform != 'linux', reason='the report is that of libgomp')
def test_training_tool_sets_it_before_openmp_is_loaded():
    """The runtime reports the policy that it starts with."""
    code = (
        'from adasap_det.cli import openmp, train\n'
        'openmp.has_gpu = lambda: False\n'
        "assert train.main(['no_such_config.py']) == 2\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in NAMES}
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=environment | {'OMP_DISPLAY_ENV': 'TRUE'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
