from __future__ import annotations

import csv
import io
import json

from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.report.data_export import to_csv, to_json

from ...helpers.result_folders import CLASSES, FULL


def test_csv_has_every_value_without_rounding(comparison, results):
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert list(rows[0]) == ['model', 'corruption', 'severity', 'class', 'metric', 'value']
    assert len(rows) == 3 * 76 * 2 * (1 + len(CLASSES))
    found = {tuple(row.values())[:-1]: row['value'] for row in rows}
    assert len(found) == len(rows)
    cell = results[1].cells['fog', 3]
    where = ('Pruned 50 %', 'fog', '3')
    assert float(found[(*where, '', 'AP50')]) == cell.metrics['AP50']
    assert float(found[(*where, 'bus', 'AP')]) == cell.per_class['AP']['bus']
    assert found[(*where, 'chair', 'AP50')] == ''
    assert ('Pruned 50 %', 'clean', '0', '', 'AP50') in found


def test_csv_escapes_names(model):
    c = compare([model('a,"b"', classes=('x;y', 'n\nm'))])
    rows = list(csv.DictReader(io.StringIO(to_csv(c))))
    assert {row['model'] for row in rows} == {'a,"b"'}
    assert {row['class'] for row in rows} == {'', 'x;y', 'n\nm'}


def test_json_has_the_numbers_of_the_page(comparison):
    report = json.loads(to_json(comparison, title='T'))
    assert (report['title'], report['metric'], report['complete']) == ('T', 'AP50', True)
    assert report['baseline'] == 'Dense SSD300' and len(report['cells']) == 75
    model = report['models'][2]
    assert model['name'] == 'AdaSAP 50 %'
    assert model['mPC'] == comparison.mean(2) and model['rPC'] == comparison.relative(2)
    assert model['per_corruption']['fog'] == comparison.of_corruption(2, 'fog')
    assert model['per_class']['chair'] == {'P': None, 'mean': None, 'mean_over_P': None}
    assert len(model['values']) == 75 and model['missing'] == []


def test_mpc_is_null_for_an_incomplete_benchmark(model):
    report = json.loads(to_json(compare([model(cells=FULL[1:])]), title='T'))
    assert not report['complete']
    assert report['models'][0]['mPC'] is None and report['models'][0]['rPC'] is None
    assert report['models'][0]['mean'] is not None
    assert report['models'][0]['missing'] == [['gaussian_noise', 1]]
