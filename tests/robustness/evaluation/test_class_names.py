import pytest

from adasap_det.robustness.evaluation.class_names import distinct


def test_only_what_is_not_distinct_gets_its_label():
    assert distinct(['a', 'b', 'a']) == ('a (0)', 'b', 'a (2)')


def test_imagenets_thousand_are_a_thousand():
    categories = pytest.importorskip('mmpretrain.datasets.categories').IMAGENET_CATEGORIES
    found = distinct(categories)
    assert len(set(found)) == 1000
    assert [found[label] for label in (134, 517)] == ['crane (134)', 'crane (517)']
