from __future__ import annotations

import json
from dataclasses import replace

from adasap_det.robustness.corruption_error import corruption_error_of
from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.report.data_export import to_csv, to_json
from adasap_det.robustness.report.page import render_page
from adasap_det.robustness.report.tables import by_class, by_corruption, headline, mean_name
from adasap_det.robustness.results import ShiftedSet

from ...helpers.result_folders import FULL


def column(table, head):
    index = next(i for i, name in enumerate(table.heads) if name.startswith(head))
    return [row.cells[index] for group in table.groups for row in group.rows]


def test_headline_has_differences_and_highlights_the_best(comparison):
    table = headline(comparison)
    assert [head.partition(',')[0] for head in table.heads] == [
        'P', 'mPC', 'rPC', 'parameters', 'MACs', 'latency',
    ]  # fmt: skip
    cells = column(table, 'mPC')
    values = [100 * comparison.mean(i) for i in range(3)]
    assert [cell.text for cell in cells] == [f'{value:.1f}' for value in values]
    assert [cell.best for cell in cells] == [value == max(values) for value in values]
    assert cells[0].subtext == ''
    assert cells[2].subtext == f'{values[2] - values[0]:+.1f}'.replace('-', '\u2212')
    sizes = column(table, 'parameters, M')
    assert [cell.text for cell in sizes] == ['26.3', '13.1', '12.9']
    assert [cell.subtext for cell in sizes] == ['', '\u221250 %', '\u221251 %']
    assert [cell.best for cell in sizes] == [False, False, True]


def test_shifted_sets_are_listed_with_their_ratio_to_clean(model):
    first, second = model('a'), model('b')
    sha, p = second.model.checkpoint_sha256, second.cells[None, 0].metrics['AP50']
    v2 = ShiftedSet('V2', 'v2.py', 7, {'AP50': p / 4, 'AP': None}, sha, 'f')
    c = compare([first, replace(second, shifted=(v2,))])
    table = headline(c)
    assert [cell.text for cell in column(table, 'V2')] == ['\u2013', f'{25 * p:.1f}']
    assert [cell.text for cell in column(table, 'R_V2')] == ['\u2013', '25.0']
    models = json.loads(to_json(c, title='T'))['models']
    assert models[0]['shifted'] == {'V2': {'value': None, 'value_over_P': None}}
    assert models[1]['shifted'] == {'V2': {'value': p / 4, 'value_over_P': 0.25}}
    rows = [line for line in to_csv(c).splitlines() if 'shifted' in line]
    assert rows == [f'b,shifted: V2,0,,AP50,{p / 4!r}', 'b,shifted: V2,0,,AP,']


def test_differences_are_to_the_chosen_baseline(results):
    table = headline(compare(results, baseline='AdaSAP 50 %'))
    cells = column(table, 'P')
    assert cells[2].subtext == '' and cells[0].subtext.startswith('+')
    assert [row.note for row in table.groups[0].rows] == ['', '', 'baseline']


def test_an_incomplete_mean_is_never_called_mpc(model):
    c = compare([model('a', cells=FULL[:40]), model('b')])
    assert mean_name(c) == 'mean over 40 of 75 cells'
    for table in (headline(c), by_corruption(c), by_class(c)):
        labels = [row.label for group in table.groups for row in group.rows]
        assert not {'mPC', 'rPC'} & {word for text in [*table.heads, *labels] for word in
                                     text.replace(',', ' ').split()}  # fmt: skip


def test_single_model_has_no_differences_and_no_best(model):
    table = headline(compare([model()]))
    assert not any(cell.best or cell.subtext for group in table.groups for row in group.rows
                   for cell in row.cells)  # fmt: skip


def test_values_that_print_the_same_have_no_best(model):
    # Same seed and name give the same values, so neither is the best.
    table = headline(compare([model('twin'), model('twin')]))
    assert not any(cell.best for cell in column(table, 'P'))


def test_unmeasured_latency_has_no_column(model):
    table = headline(compare([model(latency_ms=None)]))
    assert not any('latency' in head for head in table.heads)
    some = column(headline(compare([model('a', latency_ms=None), model('b')])), 'latency')
    assert [cell.text for cell in some] == ['\u2013', '13.9']
    assert not any(cell.subtext or cell.best for cell in some)


def test_latencies_of_different_devices_are_not_compared(model):
    table = headline(compare([model('a'), model('b', device='other', latency_ms=1.0)]))
    assert not any(cell.best or cell.subtext for cell in column(table, 'latency'))


def test_corruptions_are_grouped_by_family_with_the_mean_last(comparison):
    table = by_corruption(comparison)
    assert [group.label for group in table.groups] == [
        '', 'noise', 'blur', 'weather', 'digital', '',
    ]  # fmt: skip
    fog = next(row for row in table.groups[3].rows if row.label == 'Fog')
    assert fog.cells[1].text == f'{100 * comparison.of_corruption(1, "fog"):.1f}'
    assert table.groups[-1].rows[0].label == 'mPC'


def test_held_out_corruptions_have_their_own_group(model):
    table = by_corruption(compare([model(cells=[*FULL, ('spatter', 2)])]))
    assert table.groups[-2].label == 'held out (not part of the mean)'
    assert [row.label for row in table.groups[-2].rows] == ['Spatter']
    assert table.groups[-1].rows[0].label == 'mPC'


def test_classes_have_p_mpc_and_rpc_of_each_model(comparison):
    table = by_class(comparison)
    assert list(table.heads) == ['P', 'mPC', 'rPC'] * 3
    rows = {row.label: row.cells for row in table.groups[0].rows}
    assert [cell.text for cell in rows['chair']] == ['\u2013'] * 9
    p, mpc = comparison.class_clean(1, 'bus'), comparison.class_mean(1, 'bus')
    texts = [f'{100 * p:.1f}', f'{100 * mpc:.1f}', f'{100 * mpc / p:.1f}']
    assert [cell.text for cell in rows['bus'][3:6]] == texts
    assert sum(cell.best for cell in rows['bus'][::3]) == 1


def classifier(results, *, classes=1000, imagenet_c=True):
    """Turn detection results into those of a classifier."""
    cells = {
        key: replace(cell, metrics={'top1': cell.metrics['AP50']}, per_class={})
        for key, cell in results.cells.items()
    }
    dataset = replace(results.model.dataset, classes=tuple(map(str, range(classes))))
    model = replace(results.model, dataset=dataset, imagenet_c=imagenet_c)
    return replace(results, cells=cells, model=model)


def test_imagenet_classifiers_have_mce_and_the_lowest_is_best(results):
    comparison = compare([classifier(r) for r in results])
    assert comparison.metric == 'top1'
    table = headline(comparison)
    column = table.heads.index('mCE, %')
    assert table.heads[column + 1] == 'relative mCE, %'
    errors = [corruption_error_of(classifier(r).cells) for r in results]
    rows = [row for group in table.groups for row in group.rows]
    assert [row.cells[column].text for row in rows] == [f'{100 * e.mce:.1f}' for e in errors]
    best = min(range(len(errors)), key=lambda i: errors[i].mce)
    assert [row.cells[column].best for row in rows] == [i == best for i in range(len(rows))]
    report = json.loads(to_json(comparison, title='T'))
    assert report['models'][1]['mCE'] == errors[1].mce
    assert report['models'][1]['relative_mCE'] == errors[1].relative_mce


def test_mce_is_omitted_for_other_tasks_and_data_sets(results, comparison):
    other = compare([classifier(r, imagenet_c=False) for r in results])
    assert other.why_no_corruption_error.startswith('no mCE: it is relative to errors of AlexNet')
    assert 'No mCE: it is relative' in render_page(other, title='T')
    for c in (comparison, other, compare([classifier(r, classes=10) for r in results])):
        assert not any('mCE' in head for head in headline(c).heads)
        assert json.loads(to_json(c, title='T'))['models'][0]['mCE'] is None
