from __future__ import annotations

import errno
import os

import pytest

from adasap_det.robustness.benchmark import BenchmarkError
from adasap_det.robustness.benchmark.lock import LOCK, locked

fcntl = pytest.importorskip('fcntl')


def messages_while_locked(folder):
    messages = []
    with locked(folder, say=messages.append):
        pass
    return messages


def test_locked_once_and_deleted_afterwards(tmp_path):
    with locked(tmp_path):
        for _ in range(2):  # a failed attempt does not release the lock
            with pytest.raises(BenchmarkError, match='another process is building'):
                messages_while_locked(tmp_path)
        assert (tmp_path / LOCK).is_file()
    assert messages_while_locked(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_locked_where_only_files_open_for_writing_can_be_locked(tmp_path, monkeypatch):
    """NFS works like this."""
    real = fcntl.flock

    def flock(descriptor, operation):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', flock)
    with locked(tmp_path), pytest.raises(BenchmarkError, match='another process is building'):
        messages_while_locked(tmp_path)


def test_unsupported_locks_print_a_warning(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'flock', flock)
    (line,) = messages_while_locked(tmp_path)
    assert line.startswith(f'{tmp_path} cannot be locked ({os.strerror(errno.ENOLCK)})')
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_cannot_be_created_prints_a_warning(tmp_path):
    (tmp_path / LOCK).mkdir()
    assert len(messages_while_locked(tmp_path)) == 1


def test_a_lock_file_deleted_while_opening_is_not_a_lock(tmp_path, monkeypatch):
    """The other build deletes it after we open it and before we lock it."""
    real, removed = fcntl.flock, []

    def flock(descriptor, operation):
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', flock)
    with locked(tmp_path), pytest.raises(BenchmarkError, match='another process is building'):
        messages_while_locked(tmp_path)
