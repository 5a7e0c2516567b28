import errno
import os
import re

import pytest

from adasap_det.utils.io import atomic_write


def test_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'deep' / 'file.txt'
    with atomic_write(path) as temporary:
        temporary.write_text('new')
        assert not path.exists()
    assert path.read_text() == 'new'
    assert list(path.parent.iterdir()) == [path]


def test_names_may_be_as_long_as_file_systems_allow(tmp_path):
    path = tmp_path / ('\u56fe' * 83 + '.txt')  # 253 bytes, of which the file system allows 255
    with atomic_write(path) as temporary:
        temporary.write_text('new')
    assert path.read_text() == 'new'


def test_after_an_error_the_old_file_remains(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('old')

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text('half')
            raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        fail()
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_error_names_file_and_size(tmp_path):
    path = tmp_path / 'file.txt'

    def fail(**options):
        with atomic_write(path, **options) as temporary:
            temporary.write_text('half')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = re.escape(repr(str(path)))
    with pytest.raises(OSError, match=f'No space left on device; no partial.*{name}') as raised:
        fail()
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=f'No space left on device while writing 2.5 MB; .*{name}'):
        fail(size=2_500_000)
    assert list(tmp_path.iterdir()) == []


def test_symbolic_link_is_replaced(tmp_path):
    (tmp_path / 'target').write_text('old')
    (tmp_path / 'link').symlink_to('target')
    with atomic_write(tmp_path / 'link') as temporary:
        temporary.write_text('new')
    assert not (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'target').read_text() == 'old'


def test_temporary_file_lies_where_asked(tmp_path):
    elsewhere = tmp_path / 'unfinished'
    elsewhere.mkdir()
    with atomic_write(tmp_path / 'new' / 'file.txt', temporary_dir=elsewhere) as temporary:
        temporary.write_text('new')
        assert temporary.parent == elsewhere
    assert (tmp_path / 'new' / 'file.txt').read_text() == 'new'
    assert list(elsewhere.iterdir()) == []


def test_durable_file_is_flushed_before_it_takes_the_name(tmp_path, monkeypatch):
    path = tmp_path / 'file.txt'
    existed = []
    monkeypatch.setattr(os, 'fsync', lambda descriptor: existed.append(path.exists()))
    with atomic_write(path, durable=True) as temporary:
        temporary.write_text('new')
    assert existed == [False, True]  # the file, then the folder that holds its name
