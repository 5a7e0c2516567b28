from __future__ import annotations

import errno
import os

import pytest

from adasap_det.robustness.benchmark import BenchmarkError
from adasap_det.robustness.benchmark.lock import LOCK, locked

fcntl = pytest.importorskip('fcntl')


def said_while_locked(folder):
    said = []
    with locked(folder, say=said.append):
        pass
    return said


def test_held_once_and_gone_afterwards(tmp_path):
    with locked(tmp_path):
        for _ in range(2):  # being refused takes nothing from the holder
            with pytest.raises(BenchmarkError, match='another process is building'):
                said_while_locked(tmp_path)
        assert (tmp_path / LOCK).is_file()
    assert said_while_locked(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_held_where_only_files_open_for_writing_are_locked(tmp_path, monkeypatch):
    """As NFS does."""
    real = fcntl.flock

    def flock(descriptor, operation):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', flock)
    with locked(tmp_path), pytest.raises(BenchmarkError, match='another process is building'):
        said_while_locked(tmp_path)


def test_no_locks_are_told(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'flock', flock)
    (line,) = said_while_locked(tmp_path)
    assert line.startswith(f'{tmp_path} cannot be locked ({os.strerror(errno.ENOLCK)})')
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_file_is_told(tmp_path):
    (tmp_path / LOCK).mkdir()
    assert len(said_while_locked(tmp_path)) == 1


def test_the_file_of_a_build_that_ends_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Its holder removes it between our opening and our locking it."""
    real, removed = fcntl.flock, []

    def flock(descriptor, operation):
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', flock)
    with locked(tmp_path), pytest.raises(BenchmarkError, match='another process is building'):
        said_while_locked(tmp_path)
