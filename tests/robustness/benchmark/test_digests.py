from __future__ import annotations

import errno
import os

import pytest

from adasap_det.robustness.benchmark.digests import (
    TEMPORARY,
    FileDigest,
    check_file,
    check_inside,
    link,
    write_file,
)
from adasap_det.robustness.benchmark.errors import BenchmarkError, from_os_error


@pytest.fixture
def out(tmp_path):
    (tmp_path / TEMPORARY).mkdir()
    return tmp_path


def test_write_creates_missing_folders(out):
    write_file(out, 'a/b/c.jpg', b'hello', durable=True)
    assert (out / 'a/b/c.jpg').read_bytes() == b'hello'
    assert not list((out / TEMPORARY).iterdir())


def test_a_full_disk_keeps_the_old_file_and_leaves_no_partial_one(out, monkeypatch):
    write_file(out, 'c.jpg', b'old')
    write = os.write

    def fills_up(descriptor, data):
        if len(data) > 3:
            return write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'write', fills_up)
    with pytest.raises(OSError, match='No space left'):
        write_file(out, 'c.jpg', b'newer')
    assert (out / 'c.jpg').read_bytes() == b'old'
    assert not list((out / TEMPORARY).iterdir())


def test_partial_writes_are_completed(out, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, 'write', lambda descriptor, data: write(descriptor, data[:2]))
    write_file(out, 'c.jpg', b'seven b')
    assert (out / 'c.jpg').read_bytes() == b'seven b'


@pytest.mark.parametrize('name', ['a', 'a/b', 'a/b/c.jpg'])
def test_a_blocking_file_or_folder_is_named(out, name):
    if name.endswith('.jpg'):
        (out / name).mkdir(parents=True)
        message = 'a folder where a file should be'
    else:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text('in the way')
        message = 'a file where a folder should be'
    with pytest.raises(OSError) as caught:
        write_file(out, 'a/b/c.jpg', b'hello')
    text = str(from_os_error(caught.value, out))
    assert text.startswith(f'{out / name} is {message}')
    assert not list((out / TEMPORARY).iterdir())


def test_an_existing_link_is_replaced(out):
    link(out, 'x/y', '../first')
    link(out, 'x/y', '../second')
    assert os.readlink(out / 'x/y') == '../second'


def test_check_file(out):
    write_file(out, 'c.jpg', b'hello')
    assert check_file(out, 'c.jpg', FileDigest.of(b'hello')) is None
    assert check_file(out, 'c.jpg', FileDigest.of(b'hellO')) == 'damaged'
    assert check_file(out, 'c.jpg', FileDigest.of(b'hello!')) == 'damaged'
    assert check_file(out, 'd.jpg', FileDigest.of(b'hello')) == 'missing'
    assert check_file(out, 'c.jpg/d', FileDigest.of(b'hello')) == 'missing'


@pytest.mark.parametrize('path', ['../x', '/x', 'a/../../x'])
def test_a_path_outside_the_benchmark_raises(path):
    with pytest.raises(BenchmarkError, match='is outside the benchmark'):
        check_inside(path)
