from __future__ import annotations

import json

import pytest

from adasap_det.robustness.benchmark import BenchmarkError, Manifest, cell_root, read_manifest
from adasap_det.robustness.benchmark.digests import FileDigest
from adasap_det.robustness.benchmark.manifest import manifest_bytes

MANIFEST = Manifest(
    version='1.0',
    software={'opencv': '4'},
    source={'layout': 'voc', 'folder': 'VOC2007', 'split': 'test'},
    options={'corruptions': ['fog'], 'severities': [1, 3], 'seed': 0},
    images={'b': '11', 'ä "quoted"': '22'},
    skipped={'c': 'JPEGImages/c.jpg: the JPEG is truncated'},
    files={'fog/3/x.jpg': FileDigest(3, 'cc'), 'fog/1/x.jpg': FileDigest(1, 'aa')},
    annotations={'annotations/x.xml': FileDigest(4, 'dd')},
    links={'fog/1/x': '../../x'},
)


def test_write_and_read_round_trip(tmp_path):
    (tmp_path / 'manifest.json').write_bytes(manifest_bytes(MANIFEST))
    found = read_manifest(tmp_path)
    assert found == MANIFEST == read_manifest(tmp_path / 'manifest.json')
    assert list(found.images) == list(MANIFEST.images)
    assert (found.corruptions, found.severities, found.size) == (('fog',), (1, 3), 8)


def test_bytes_are_independent_of_the_order_of_work():
    other = Manifest(**{**vars(MANIFEST), 'files': dict(reversed(MANIFEST.files.items()))})
    assert manifest_bytes(other) == manifest_bytes(MANIFEST)


def test_error_of_a_missing_manifest_distinguishes_unfinished_from_absent(tmp_path):
    with pytest.raises(BenchmarkError, match=r'Build one with tools/make_voc_c\.py'):
        read_manifest(tmp_path)
    (tmp_path / 'progress.jsonl').write_text('{}\n')
    with pytest.raises(BenchmarkError, match='run the same build again, it resumes'):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'kind': 'something else'}, 'not the manifest of a benchmark'),
        ({'schema': 99}, 'schema 99'),
        ({'files': {'../../x': [1, 'aa']}}, 'is outside the benchmark'),
        ({'files': [1]}, 'damaged'),
    ],
)
def test_a_damaged_manifest_raises(tmp_path, change, message):
    data = json.loads(manifest_bytes(MANIFEST)) | change
    (tmp_path / 'manifest.json').write_text(json.dumps(data))
    with pytest.raises(BenchmarkError, match=message):
        read_manifest(tmp_path)


def test_a_truncated_manifest_raises(tmp_path):
    data = manifest_bytes(MANIFEST)
    (tmp_path / 'manifest.json').write_bytes(data[: len(data) // 2])
    with pytest.raises(BenchmarkError, match='damaged'):
        read_manifest(tmp_path)


def test_cell_root(tmp_path):
    assert cell_root(tmp_path, 'fog', 3) == tmp_path / 'fog' / '3'
