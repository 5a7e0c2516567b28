from __future__ import annotations

import pytest

from adasap_det.robustness.benchmark import BenchmarkError
from adasap_det.robustness.benchmark.digests import TEMPORARY, FileDigest
from adasap_det.robustness.benchmark.journal import JOURNAL, Journal, read_journal, start_journal
from adasap_det.robustness.benchmark.worker import ImageResult

FILES = {('fog', 1): FileDigest(10, 'aa'), ('fog', 2): FileDigest(20, 'bb')}


@pytest.fixture
def journal(tmp_path):
    (tmp_path / TEMPORARY).mkdir()
    start_journal(tmp_path, {'identity': {'seed': 0}})
    return tmp_path / JOURNAL


def add(path, *names):
    with Journal(path) as file:
        for name in names:
            file.add(ImageResult(name, 'sha of the source', FILES))


def test_added_images_are_read(journal):
    add(journal, 'a', 'b')
    header, done = read_journal(journal)
    assert header == {'identity': {'seed': 0}}
    assert list(done) == ['a', 'b']
    assert done['b'].files == FILES and done['b'].source_sha256 == 'sha of the source'


def test_a_journal_truncated_anywhere_keeps_the_lines_before_and_can_be_continued(journal):
    add(journal, 'a', 'b')
    complete = journal.read_bytes()
    start = complete.index(b'"b"') - 10
    for end in range(start, len(complete)):
        journal.write_bytes(complete[:end])
        assert list(read_journal(journal)[1]) in (['a'], ['a', 'b'])
        add(journal, 'c')
        assert list(read_journal(journal)[1]) == ['a', 'c']


def test_a_damaged_line_loses_only_its_image(journal):
    add(journal, 'a', 'b', 'c')
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = b'\0' * (len(lines[2]) - 1) + b'\n'
    journal.write_bytes(b''.join(lines))
    assert list(read_journal(journal)[1]) == ['a', 'c']


def test_a_damaged_header_raises(journal):
    journal.write_bytes(b'\0\0\n')
    with pytest.raises(BenchmarkError, match=r'damaged.*--overwrite'):
        read_journal(journal)
