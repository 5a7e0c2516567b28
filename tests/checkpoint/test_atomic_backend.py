"""Files written by the atomic backend are old or new, never in between."""

import errno
import os
import re
import stat

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.runner import save_checkpoint

from adasap_det.checkpoint.atomic_backend import AtomicBackend


@pytest.fixture
def backend() -> AtomicBackend:
    return get_file_backend(backend_args=dict(backend='atomic'))


def test_registered_and_round_trips(backend, tmp_path):
    assert isinstance(backend, AtomicBackend)
    backend.put(b'\x00bytes', tmp_path / 'new' / 'folder' / 'a.bin')
    assert backend.get(tmp_path / 'new/folder/a.bin') == b'\x00bytes'
    backend.put_text('grün', str(tmp_path / 'b.txt'))
    assert (tmp_path / 'b.txt').read_bytes() == 'grün'.encode()
    assert sorted(p.name for p in tmp_path.rglob('*') if p.is_file()) == ['a.bin', 'b.txt']


@pytest.mark.parametrize('error', [OSError('disk full'), KeyboardInterrupt()])
@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_failed_write_keeps_old_file_and_leaves_no_other(
    backend, tmp_path, monkeypatch, step, error
):
    target = tmp_path / 'epoch_1.pth'
    backend.put(b'old', target)

    def fail(*args):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        backend.put(b'new and longer', target)
    monkeypatch.undo()
    assert target.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_full_disk_error_names_the_file(backend, tmp_path, monkeypatch):
    target = tmp_path / 'epoch_2.pth'

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    message = f'No space left on device while writing 3.0 MB.*{re.escape(repr(str(target)))}'
    with pytest.raises(OSError, match=message) as raised:
        backend.put(bytes(3_000_000), target)
    assert raised.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_error_that_names_its_file_is_unchanged(backend, tmp_path):
    (tmp_path / 'epoch_1.pth').mkdir()
    with pytest.raises(IsADirectoryError, match=r"^\[Errno 21\] Is a directory: '\S+'"):
        backend.put(b'', tmp_path / 'epoch_1.pth')


def test_interrupted_write_keeps_the_old_file(backend, tmp_path):
    target = tmp_path / 'epoch_1.pth'
    backend.put(b'old', target)
    with pytest.raises(TypeError):
        backend.put('text where bytes are due', target)  # the file is open by then
    assert target.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_data_is_synced_before_rename(backend, tmp_path, monkeypatch):
    target = tmp_path / 'epoch_1.pth'
    seen = []
    fsync = os.fsync

    def watch(descriptor):
        seen.append((os.fstat(descriptor).st_size, target.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', watch)
    backend.put(b'x' * 1000, target)
    assert seen[0] == (1000, False)
    assert seen[1][1] is True  # then the folder, which holds the new name


def test_files_have_default_permissions(backend, tmp_path):
    backend.put(b'', tmp_path / 'ours')
    (tmp_path / 'plain').touch()
    mode = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ('ours', 'plain')]
    assert mode[0] == mode[1]


def test_symlink_is_preserved(backend, tmp_path):
    (tmp_path / 'target').write_bytes(b'old')
    (tmp_path / 'link').symlink_to('target')
    backend.put(b'new', tmp_path / 'link')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'target').read_bytes() == b'new'


def test_mmengine_saves_checkpoints_through_atomic_backend(tmp_path, monkeypatch):
    renamed = []
    replace = os.replace
    monkeypatch.setattr(os, 'replace', lambda a, b: (renamed.append(os.fspath(b)), replace(a, b)))
    path = str(tmp_path / 'iter_5.pth')
    save_checkpoint({'weight': torch.ones(2)}, path, backend_args=dict(backend='atomic'))
    assert renamed == [path]
    assert torch.load(path)['weight'].tolist() == [1, 1]
