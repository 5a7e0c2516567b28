from __future__ import annotations

import pytest

from adasap_det.robustness.report.channel_tables import channel_tables
from adasap_det.robustness.report.comparison import compare

LAYERS = (('backbone.a.0', 8), ('backbone.a.1', 16), ('head.b', 4))


def with_channels(*channels, dense=(8, 16, 4)):
    names = [name for name, _ in LAYERS]
    return {
        'channels': [
            {'layer': layer, 'channels': c, 'dense_channels': d}
            for layer, c, d in zip(names, channels, dense, strict=True)
        ]
    }


def test_models_of_one_architecture_share_a_table(model):
    c = compare(
        [
            model('dense', **with_channels(8, 16, 4)),
            model('one', **with_channels(4, 16, 4)),
            model('two', **with_channels(8, 2, 3)),
        ]
    )
    (table,) = channel_tables(c)
    assert table.layers == ('backbone.a.0', 'backbone.a.1', 'head.b')
    assert table.dense == (8, 16, 4)
    assert table.models == (1, 2)
    assert table.channels == ((4, 16, 4), (8, 2, 3))
    assert table.parts() == [('backbone.a', 24, [20, 10]), ('head.b', 4, [4, 3])]


def test_other_architectures_have_separate_tables(model):
    c = compare(
        [
            model('one', **with_channels(4, 16, 4)),
            model('two', **with_channels(4, 16, 4, dense=(8, 32, 4))),
        ]
    )
    assert [table.models for table in channel_tables(c)] == [(0,), (1,)]


def test_no_table_without_pruned_models(model):
    assert channel_tables(compare([model(), model('b', channels=[])])) == []


def test_more_channels_than_the_dense_layer_are_rejected(model):
    with pytest.raises(ValueError, match=r'backbone\.a\.0'):
        channel_tables(compare([model(**with_channels(9, 16, 4))]))
