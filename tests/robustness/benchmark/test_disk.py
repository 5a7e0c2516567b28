from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from adasap_det.robustness.benchmark import (
    BenchmarkError,
    build_benchmark,
    make_options,
    voc_source,
)
from adasap_det.robustness.benchmark import disk as disk_module
from adasap_det.robustness.benchmark.disk import DiskEstimate, check_free_space, format_size
from adasap_det.robustness.benchmark.lock import LOCK

from ...helpers.source_trees import CORRUPTIONS, contents, make_voc

OPTIONS = make_options(corruptions=CORRUPTIONS, severities=(1, 5))
Usage = namedtuple('Usage', 'total used free')


def build(root, out, **more):
    messages = []
    arguments = dict(options=OPTIONS, workers=0, quiet=True, say=messages.append)
    return build_benchmark(voc_source(root), out, **arguments, **more), messages


def test_disk_use_is_estimated_first_and_sufficient(tmp_path, monkeypatch):
    root = make_voc(tmp_path / 'voc', 12)
    estimates = []

    def recorded(out, needed, **options):
        assert estimates or {path.name for path in out.iterdir()} <= {LOCK}
        estimates.append(needed)
        return check_free_space(out, needed, **options)

    monkeypatch.setattr('adasap_det.robustness.benchmark.run.check_free_space', recorded)
    report, messages = build(root, tmp_path / 'out')
    assert any(line.startswith('disk: about') and 'free' in line for line in messages)
    blocks = sum(
        -(-path.stat().st_size // 4096) * 4096 for path in (tmp_path / 'out').rglob('*.jpg')
    )
    assert estimates[0].files == 12 * 8
    assert report.size < blocks + 12 * 4096 <= estimates[0].size < 2 * blocks
    # Nothing is missing, so nothing is needed.
    build(root, tmp_path / 'out')
    assert estimates[1].files == estimates[1].size == 0


def test_too_little_space_raises_before_anything_is_written(tmp_path, monkeypatch):
    root = make_voc(tmp_path / 'voc', 12)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(10**6, 10**6 - 5000, 5000))
    with pytest.raises(BenchmarkError, match=r'about \d+ kB needed .* 5 kB free; free space'):
        build(root, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_too_few_free_files_raise(tmp_path, monkeypatch):
    status = namedtuple('Status', 'f_files f_favail f_blocks f_frsize f_bfree f_bavail')
    monkeypatch.setattr(disk_module.os, 'statvfs', lambda _: status(100, 9, 9, 9, 9, 9))
    with pytest.raises(BenchmarkError, match='has room for 9 more files, and 10 are needed'):
        check_free_space(tmp_path, DiskEstimate(1, 10, 1))
    monkeypatch.setattr(disk_module.os, 'statvfs', lambda _: status(0, 0, 9, 9, 9, 9))
    check_free_space(tmp_path, DiskEstimate(1, 10, 1))


def test_space_of_the_deleted_benchmark_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(10**6, 10**6 - 5000, 5000))
    status = namedtuple('Status', 'f_files f_favail')
    monkeypatch.setattr(disk_module.os, 'statvfs', lambda _: status(100, 9))
    text = check_free_space(tmp_path, DiskEstimate(9000, 10, 1), freed=DiskEstimate(4000, 1, 0))
    assert text.endswith('5 kB free and 4 kB more after deleting the existing benchmark')
    with pytest.raises(BenchmarkError, match='free space, choose'):
        check_free_space(tmp_path, DiskEstimate(9001, 10, 1), freed=DiskEstimate(4000, 1, 0))
    with pytest.raises(BenchmarkError, match='has room for 10 more files, and 11 are needed'):
        check_free_space(tmp_path, DiskEstimate(9000, 11, 1), freed=DiskEstimate(4000, 1, 0))


def test_a_dry_run_of_overwrite_counts_the_old_benchmark_as_free(tmp_path, monkeypatch):
    root = make_voc(tmp_path / 'voc', 2)
    out = tmp_path / 'out'
    build(root, out)
    (out / 'mine').mkdir()
    (out / 'mine/film').write_bytes(bytes(10**6))  # stays
    before = contents(out)
    freed = []

    def recorded(out, needed, **options):
        freed.append(options['freed'])
        return check_free_space(out, needed, **options)

    monkeypatch.setattr('adasap_det.robustness.benchmark.run.check_free_space', recorded)
    build(root, out, overwrite=True, dry_run=True)
    assert contents(out) == before
    old = [path for path in out.rglob('*') if 'mine' not in path.parts]
    files = [path for path in old if path.is_file() and not path.is_symlink()]
    assert freed[0].files == len(old)
    assert freed[0].size == sum(-(-path.lstat().st_size // 4096) * 4096 for path in files)
    # After the deletion nothing is left to free.
    build(root, out, overwrite=True)
    assert freed[1] is None


def test_format_size():
    assert [format_size(size) for size in (0, 999, 1000, 35_400_000, 35.4e9, 2e12)] == [
        '0 bytes',
        '999 bytes',
        '1 kB',
        '35.4 MB',
        '35.4 GB',
        '2 TB',
    ]
