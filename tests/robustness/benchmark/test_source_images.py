from __future__ import annotations

from itertools import pairwise

import pytest

from adasap_det.robustness.benchmark import BenchmarkError, choose_subset, voc_source

from ...helpers.source_trees import make_voc


@pytest.fixture
def source(tmp_path):
    return voc_source(make_voc(tmp_path, 20))


def names(source):
    return [image.image_id for image in source.images]


def test_a_larger_subset_contains_the_smaller_in_the_order_of_the_source(source):
    parts = [names(choose_subset(source, n, seed=0)) for n in (1, 5, 12, 20, 99)]
    assert [len(part) for part in parts] == [1, 5, 12, 20, 20]
    for small, large in pairwise(parts):
        assert set(small) <= set(large)
        assert large == sorted(large)
    assert names(choose_subset(source, 5, seed=1)) != parts[1]


def test_a_file_lists_the_subset(source, tmp_path):
    path = tmp_path / 'ids.txt'
    path.write_text('000007\n\n 000003 \n', 'utf-8-sig')
    assert names(choose_subset(source, path, seed=0)) == ['000003', '000007']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is empty'),
        ('000001\n000001\n', "lists '000001' twice"),
        ('000001\n5\n6\n', "images that are not in the source: 2, the first is '5'"),
    ],
)
def test_an_invalid_subset_file_raises(source, tmp_path, text, message):
    path = tmp_path / 'ids.txt'
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        choose_subset(source, path, seed=0)


def test_a_subset_that_is_neither_number_nor_file_raises(source, tmp_path):
    with pytest.raises(BenchmarkError, match='neither a number nor a readable text file'):
        choose_subset(source, tmp_path / 'absent.txt', seed=0)
    with pytest.raises(BenchmarkError, match='subset is 0'):
        choose_subset(source, 0, seed=0)
