import pytest

from adasap_det.utils.io import atomic_write


def test_there_when_whole(tmp_path):
    path = tmp_path / 'deep' / 'file.txt'
    with atomic_write(path) as temporary:
        temporary.write_text('new')
        assert not path.exists()
    assert path.read_text() == 'new'
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_all_is_as_before(tmp_path):
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
