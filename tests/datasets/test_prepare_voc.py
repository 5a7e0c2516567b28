import errno
import hashlib
import http.server
import tarfile
import threading
from pathlib import Path

import pytest

from adasap_det.datasets.prepare_voc import YEARS, Archive, Year, main, prepare_voc

from ..helpers.voc_folder import make_voc


def pack(folder: Path, tar: Path, *, url: str = 'http://127.0.0.1:9/') -> Archive:
    """Pack ``folder``, the parent of VOCdevkit, into a tar file; return its table entry."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, 'w') as file:
        file.add(folder / 'VOCdevkit', arcname='VOCdevkit')
    md5 = hashlib.md5(tar.read_bytes()).hexdigest()
    return Archive(url=url + tar.name, filename=tar.name, md5=md5)


@pytest.fixture
def table(tmp_path) -> dict[str, Year]:
    """The archives of two years with two or three images each, in ``tmp_path/tars``."""
    make_voc(tmp_path / 'p/VOCdevkit/VOC2007', ['000001', '000002'])
    make_voc(tmp_path / 'q/VOCdevkit/VOC2007', ['000003'], split='test')
    make_voc(tmp_path / 'r/VOCdevkit/VOC2012', ['2012_1', '2012_2', '2012_3'])
    tars = tmp_path / 'tars'
    both = pack(tmp_path / 'p', tars / 'trainval.tar'), pack(tmp_path / 'q', tars / 'test.tar')
    return {
        '2007': Year(both, ('trainval', 'test')),
        '2012': Year((pack(tmp_path / 'r', tars / '2012.tar'),), ('trainval',)),
    }


def files_below(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob('*') if p.is_file()
    }


def test_lays_out_both_years_from_archives(tmp_path, table, capsys):
    folders = prepare_voc(tmp_path / 'data', archives=tmp_path / 'tars', table=table)
    devkit = tmp_path / 'data' / 'VOCdevkit'
    assert folders == [devkit / 'VOC2007', devkit / 'VOC2012']
    images = {p.name for p in (devkit / 'VOC2007/JPEGImages').iterdir()}
    assert images == {'000001.jpg', '000002.jpg', '000003.jpg'}
    assert (devkit / 'VOC2012/ImageSets/Main/trainval.txt').read_text().split() == [
        '2012_1',
        '2012_2',
        '2012_3',
    ]
    # No temporary files are left, and the archives are kept.
    assert {p.name for p in devkit.iterdir()} == {'VOC2007', 'VOC2012'}
    assert len(list((tmp_path / 'tars').iterdir())) == 3
    assert 'VOC2007 test: 1 images, 1 boxes' in capsys.readouterr().out


def test_second_call_only_checks(tmp_path, table):
    prepare_voc(tmp_path / 'data', archives=tmp_path / 'tars', table=table)
    before = files_below(tmp_path / 'data')
    # The archives are not needed.
    prepare_voc(tmp_path / 'data', archives=tmp_path / 'nowhere', table=table)
    assert files_below(tmp_path / 'data') == before


def test_one_year_alone(tmp_path, table):
    prepare_voc(tmp_path / 'data', years=['2012'], archives=tmp_path / 'tars', table=table)
    assert [p.name for p in (tmp_path / 'data/VOCdevkit').iterdir()] == ['VOC2012']


def test_corrupt_archive_is_an_error_and_nothing_is_unpacked(tmp_path, table):
    tar = tmp_path / 'tars' / 'test.tar'
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    with pytest.raises(ValueError, match=r'test\.tar is damaged .*http://127\.0\.0\.1:9/test\.tar'):
        prepare_voc(tmp_path / 'data', archives=tmp_path / 'tars', table=table)
    assert list((tmp_path / 'data/VOCdevkit').iterdir()) == []


def test_error_names_a_missing_archive_and_its_url(tmp_path, table):
    (tmp_path / 'tars' / '2012.tar').unlink()
    with pytest.raises(ValueError, match=r'2012\.tar does not exist; download http://127.*2012'):
        prepare_voc(tmp_path / 'data', archives=tmp_path / 'tars', table=table)
    # The previous year is complete and is kept.
    assert (tmp_path / 'data/VOCdevkit/VOC2007').is_dir()


def test_offline_error_names_url_and_remedy(tmp_path, table):
    # Nobody listens on port 9.
    with pytest.raises(ValueError, match=r'http://127\.0\.0\.1:9/trainval\.tar .*--archives'):
        prepare_voc(tmp_path / 'data', table=table)


def test_invalid_tar_file(tmp_path, table):
    (tmp_path / 'tars' / '2012.tar').write_bytes(b'not a tar file')
    md5 = hashlib.md5(b'not a tar file').hexdigest()
    wrong = {'2012': Year((Archive('http://127.0.0.1:9/', '2012.tar', md5),), ('trainval',))}
    with pytest.raises(ValueError, match=r'2012\.tar cannot be unpacked'):
        prepare_voc(tmp_path / 'd', years=['2012'], archives=tmp_path / 'tars', table=wrong)
    assert list((tmp_path / 'd/VOCdevkit').iterdir()) == []


def test_tar_file_of_another_year(tmp_path, table):
    swapped = {'2007': table['2012']}
    with pytest.raises(ValueError, match=r'2012\.tar hold no VOCdevkit/VOC2007'):
        prepare_voc(tmp_path / 'd', years=['2007'], archives=tmp_path / 'tars', table=swapped)


@pytest.mark.parametrize('kind', ['parent', 'absolute', 'link'])
@pytest.mark.parametrize('filtered', [True, False], ids=['filter', 'no filter'])
def test_unsafe_tar_members_are_rejected(kind, filtered, tmp_path, monkeypatch):
    """Also by Python 3.11.0 to 3.11.3, whose tarfile has no filters."""
    if not filtered:
        monkeypatch.delattr(tarfile, 'data_filter', raising=False)
    inner = tmp_path / 'evil.txt'
    inner.write_text('x')
    tar = tmp_path / 'tars' / 'evil.tar'
    tar.parent.mkdir()
    with tarfile.open(tar, 'w') as file:
        member = file.gettarinfo(inner)
        member.name = {
            'parent': '../../../escaped.txt',
            'absolute': str(tmp_path / 'escaped.txt'),
            'link': 'VOCdevkit/VOC2007/escaped.txt',
        }[kind]
        if kind == 'link':
            member.type, member.linkname = tarfile.SYMTYPE, str(inner)
        with open(inner, 'rb') as content:
            file.addfile(member, content)
    archive = Archive('http://127.0.0.1:9/', 'evil.tar', hashlib.md5(tar.read_bytes()).hexdigest())
    with pytest.raises(ValueError, match=r'evil\.tar cannot be unpacked'):
        prepare_voc(
            tmp_path / 'a/b/c',
            years=['2007'],
            archives=tar.parent,
            table={'2007': Year((archive,), ())},
        )
    assert not list(tmp_path.rglob('escaped.txt'))


def test_existing_incomplete_folder_is_not_changed(tmp_path, table):
    folder = tmp_path / 'data/VOCdevkit/VOC2007'
    make_voc(folder, ['000001'])
    before = files_below(folder)
    with pytest.raises(ValueError, match=r'VOC2007 is not complete; move it .*test\.txt'):
        prepare_voc(tmp_path / 'data', archives=tmp_path / 'tars', table=table)
    assert files_below(folder) == before


def test_error_for_an_unknown_year_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r'no year 2010 .*2007, 2012'):
        prepare_voc(tmp_path, years=['2010'])


def test_downloads_missing_archives_and_deletes_them_afterwards(tmp_path, table):
    served: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / 'tars'))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            served.append(self.path)

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f'http://127.0.0.1:{server.server_port}/'
        online = {
            name: Year(
                tuple(Archive(url + a.filename, a.filename, a.md5) for a in year.archives),
                year.splits,
            )
            for name, year in table.items()
        }
        downloads = tmp_path / 'data' / 'downloads'
        downloads.mkdir(parents=True)
        # Before the interruption, one archive was downloaded completely and another by half.
        tars = tmp_path / 'tars'
        (downloads / 'test.tar').write_bytes((tars / 'test.tar').read_bytes())
        half = (tars / 'trainval.tar').read_bytes()[:2000]
        (downloads / 'trainval.tar').write_bytes(half)
        prepare_voc(tmp_path / 'data', years=['2007'], table=online)
        assert set(served) == {'/trainval.tar'}
        assert list(downloads.iterdir()) == []
        prepare_voc(tmp_path / 'data', years=['2012'], table=online, keep_archives=True)
        assert [p.name for p in downloads.iterdir()] == ['2012.tar']
    finally:
        server.shutdown()
        server.server_close()


def test_table_has_the_archives_of_the_voc0712_configs():
    assert [a.filename for year in YEARS.values() for a in year.archives] == [
        'VOCtrainval_06-Nov-2007.tar',
        'VOCtest_06-Nov-2007.tar',
        'VOCtrainval_11-May-2012.tar',
    ]


def test_command_line_reports_errors_without_a_traceback(tmp_path, capsys):
    arguments = ['--root', str(tmp_path / 'd'), '--archives', str(tmp_path), '--years', '2012']
    assert main(arguments) == 1
    assert 'VOCtrainval_11-May-2012.tar does not exist' in capsys.readouterr().err


def test_command_line_reports_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / 'file').write_text('in the way')
    assert main(['--root', str(tmp_path / 'file')]) == 1
    err = capsys.readouterr().err
    assert f'error: {tmp_path}/file' in err and 'with --root' in err


def test_command_line_reports_a_full_disk(tmp_path, capsys, monkeypatch):
    def extractall(file, path):
        raise OSError(errno.ENOSPC, 'No space left on device')

    make_voc(tmp_path / 'p/VOCdevkit/VOC2007', ['000001'])
    archive = pack(tmp_path / 'p', tmp_path / 'tars/a.tar')
    monkeypatch.setitem(YEARS, '2007', Year((archive,), ('trainval',)))
    monkeypatch.setattr(tarfile.TarFile, 'extractall', extractall)
    options = ['--archives', str(tmp_path / 'tars'), '--years', '2007']
    assert main(['--root', str(tmp_path / 'd'), *options]) == 1
    assert f'error: {tmp_path}/d: No space left on device; free space' in capsys.readouterr().err
