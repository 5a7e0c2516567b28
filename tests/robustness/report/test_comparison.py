from __future__ import annotations

import pytest

from adasap_det.robustness.metrics import summarise
from adasap_det.robustness.report.comparison import compare, distinct
from adasap_det.robustness.results import load_results

from ...helpers.result_folders import FULL, make_results, write_cell


def test_means_by_hand(tmp_path):
    folder = make_results(tmp_path / 'a', 'a', classes=('x', 'y'), cells=())
    write_cell(folder, None, 0, {'x': 0.8, 'y': 0.4})
    for severity, value in ((1, 0.5), (2, 0.3)):
        write_cell(folder, 'fog', severity, {'x': value, 'y': 0.1})
    write_cell(folder, 'snow', 1, {'x': 0.3, 'y': 0.3})
    write_cell(folder, 'spatter', 1, {'x': 0.0, 'y': 0.0})
    c = compare([load_results(folder)])
    assert c.clean(0) == pytest.approx(0.6)
    assert c.of_corruption(0, 'fog') == pytest.approx((0.3 + 0.2) / 2)
    assert c.of_corruption(0, 'spatter') == 0
    # Held-out corruptions are not part of the mean.
    assert c.shared == (('snow', 1), ('fog', 1), ('fog', 2))
    assert c.mean(0) == pytest.approx((0.3 + 0.3 + 0.2) / 3)
    assert c.relative(0) == pytest.approx((0.3 + 0.3 + 0.2) / 3 / 0.6)
    assert c.of_severity(0, 0, ['fog']) == c.clean(0)
    assert c.of_severity(0, 1, ['snow', 'fog']) == pytest.approx(0.3)
    assert c.of_severity(0, 2, ['snow', 'fog']) is None
    assert c.class_clean(0, 'x') == 0.8
    assert c.class_mean(0, 'x') == pytest.approx((0.3 + 0.5 + 0.3) / 3)
    assert c.families == {'weather': ('snow', 'fog'), 'held out': ('spatter',)}
    assert not c.complete and len(c.missing(0)) == 72


def test_full_benchmark_gives_the_metrics_of_summarise(results, comparison):
    assert comparison.complete
    for index, r in enumerate(results):
        expected = summarise(r.cells, metric='AP50')
        assert comparison.clean(index) == pytest.approx(expected.p)
        assert comparison.mean(index) == pytest.approx(expected.mpc)
        assert comparison.relative(index) == pytest.approx(expected.rpc)
        assert comparison.missing(index) == ()


def test_one_missing_cell_makes_the_benchmark_incomplete(model):
    full, short = model('full'), model('short', cells=FULL[:-1])
    c = compare([full, short])
    assert not c.complete
    assert c.shared == FULL[:-1]
    assert c.missing(0) == () and c.missing(1) == (FULL[-1],)
    # Both means are over the same cells.
    values = [full.cells[key].metrics['AP50'] for key in FULL[:-1]]
    assert c.mean(0) == pytest.approx(sum(values) / 74)


def test_a_cell_without_a_value_counts_as_missing(tmp_path):
    folder = make_results(tmp_path / 'a', 'a', classes=('x', 'y'))
    write_cell(folder, 'fog', 3, {'x': None, 'y': None})
    c = compare([load_results(folder)])
    assert c.missing(0) == (('fog', 3),)
    assert c.class_mean(0, 'x') == pytest.approx(
        sum(c.results[0].cells[key].per_class['AP50']['x'] for key in c.shared) / 74
    )


def test_a_class_without_objects_has_no_value(comparison):
    assert comparison.class_clean(0, 'chair') is None
    assert comparison.class_mean(0, 'chair') is None


def test_relative_is_undefined_without_a_clean_value(tmp_path):
    folder = make_results(tmp_path / 'a', 'a', classes=('x', 'y'))
    write_cell(folder, None, 0, {'x': None, 'y': None})
    c = compare([load_results(folder)])
    assert c.clean(0) is None and c.relative(0) is None and c.mean(0) is not None
    write_cell(folder, None, 0, {'x': 0.0, 'y': 0.0})
    assert compare([load_results(folder)]).relative(0) is None


def test_baseline_by_name(results):
    assert compare(results).baseline == 0
    c = compare(results, baseline='Pruned 50 %')
    assert c.baseline == 1 and c.others == (0, 2)
    with pytest.raises(
        ValueError, match=r"baseline 'Other' is not one of the models: Dense SSD300, "
    ):
        compare(results, baseline='Other')


def test_repeated_names_get_a_number(model):
    assert compare([model('same'), model('same')]).names == ('same', 'same (2)')
    assert distinct(['a', 'a', 'a (2)']) == ('a', 'a (3)', 'a (2)')
    assert distinct(['a\n', 'a']) == ('a', 'a (2)')
    assert distinct(['']) == ('unnamed',)


def test_same_device_ignores_models_without_latency(model):
    one, other = model('one'), model('other', device='NVIDIA H200')
    assert compare([one, model('twin')]).same_device
    assert not compare([one, other]).same_device
    assert compare([one, model('untimed', device=None, latency_ms=None)]).same_device
