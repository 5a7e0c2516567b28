import pytest

from adasap_det.robustness.evaluation.class_names import distinct


def test_label_is_appended_only_to_repeated_names():
    assert distinct(['a', 'b', 'a']) == ('a (0)', 'b', 'a (2)')


def test_imagenet_has_1000_distinct_names():
    categories = pytest.importorskip('mmpretrain.datasets.categories').IMAGENET_CATEGORIES
    found = distinct(categories)
    assert len(set(found)) == 1000
    assert [found[label] for label in (134, 517)] == ['crane (134)', 'crane (517)']
