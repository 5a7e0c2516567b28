from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adasap_det.robustness.report.comparability import check_comparable
from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.results import ShiftedSet, load_results

from ...helpers.result_folders import CLASSES, make_results, write_cell


def test_empty_results_are_rejected():
    with pytest.raises(ValueError, match='no results to report'):
        compare([])


def test_repeated_folder_is_rejected(model):
    one = model()
    with pytest.raises(ValueError, match='is given twice'):
        compare([one, load_results(one.folder)])


def test_missing_clean_cell_is_rejected(tmp_path):
    folder = make_results(tmp_path / 'a', 'a')
    (folder / 'cells/clean.json').unlink()
    with pytest.raises(ValueError, match=r'clean'):
        compare([load_results(folder)])


def test_unknown_metric_is_rejected(model):
    with pytest.raises(ValueError, match=r"metric 'AP75' was not measured .*AP50, AP"):
        compare([model()], metric='AP75')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'images': 400}, r"number of images of 'other' is 400, that of 'first' is 205"),
        ({'classes': CLASSES[:4]}, r"the classes of 'other' is \['aeroplane'"),
    ],
)
def test_different_images_or_classes_are_rejected(model, options, message):
    with pytest.raises(ValueError, match=message):
        compare([model('first'), model('other', **options)])


@pytest.mark.parametrize(('key', 'value'), [('type', 'CocoDataset'), ('split', 'val')])
def test_different_data_sets_are_rejected(tmp_path, model, key, value):
    folder = make_results(tmp_path / 'other', 'other')
    text = json.loads((folder / 'model.json').read_text('utf-8'))
    first = text['dataset'][key]
    text['dataset'][key] = value
    (folder / 'model.json').write_text(json.dumps(text), 'utf-8')
    with pytest.raises(ValueError, match=f"of 'other' is '{value}', that of 'first' is '{first}'"):
        compare([model('first'), load_results(folder)])


@pytest.mark.parametrize(
    ('key', 'old', 'new'),
    [
        ('split', '/data/imagenet/val', 'val'),
        ('classes', ['crane', 'dog', 'crane'], ['crane (0)', 'dog', 'crane (2)']),
    ],
)
def test_results_of_an_earlier_version_are_comparable_with_new_ones(tmp_path, key, old, new):
    found = []
    for name, value in (('old', old), ('new', new)):
        folder = make_results(tmp_path / name, name, classes=('a', 'b', 'c'))
        text = json.loads((folder / 'model.json').read_text('utf-8'))
        text['dataset'][key] = value
        (folder / 'model.json').write_text(json.dumps(text), 'utf-8')
        found.append(load_results(folder))
    check_comparable(found, ['old', 'new'], 'AP50')


def test_cells_with_different_numbers_of_images_are_rejected(tmp_path):
    folder = make_results(tmp_path / 'a', 'a')
    cell = json.loads((folder / 'cells/fog-3.json').read_text('utf-8'))
    cell['images'] = 7
    (folder / 'cells/fog-3.json').write_text(json.dumps(cell), 'utf-8')
    with pytest.raises(ValueError, match=r'images'):
        compare([load_results(folder)])


@pytest.mark.parametrize('value', ['NaN', 'Infinity', '1.2', '-1', '41.2'])
def test_values_outside_0_to_1_are_rejected(tmp_path, value):
    folder = make_results(tmp_path / 'a', 'a', classes=('x', 'y'))
    cell = json.loads((folder / 'cells/fog-3.json').read_text('utf-8'))
    cell['metrics']['AP50'] = json.loads(value)
    (folder / 'cells/fog-3.json').write_text(json.dumps(cell), 'utf-8')
    with pytest.raises(ValueError, match=r'fog'):
        compare([load_results(folder)])


def test_infinite_latency_is_rejected(tmp_path):
    folder = make_results(tmp_path / 'a', 'a', latency_ms=float('inf'))
    with pytest.raises(ValueError, match='latency_ms'):
        compare([load_results(folder)])


def test_different_seeds_are_rejected(model, tmp_path):
    first, other = model('first'), model('other', source='benchmark seed 0, seed 7')
    with pytest.raises(ValueError, match="the seed of 'other' is '7', that of 'first' is '0'"):
        compare([first, other])
    folder = make_results(tmp_path / 'mixed', 'mixed')
    write_cell(folder, 'fog', 1, dict.fromkeys(CLASSES, 0.5), source='on the fly, seed 12')
    with pytest.raises(ValueError, match=r"'mixed' .* different seeds, 0 and 12"):
        compare([load_results(folder)])


def on_v2(results, *, config='configs/v2.py', images=10_000, value=0.5):
    one = ShiftedSet('V2', config, images, {'AP50': value}, 'sha', 'f')
    return replace(results, shifted=(one,))


def test_shifted_sets_of_one_name_must_have_the_same_number_of_images(model):
    first, other = on_v2(model('first')), model('other')
    with pytest.raises(ValueError, match=r"'V2' of 'other' has 7 .*'first' 10000 .*V2=CONFIG"):
        compare([first, on_v2(other, images=7)])
    compare([first, model('without'), on_v2(other, config='/elsewhere/deit_v2.py')])


@pytest.mark.parametrize('value', [float('nan'), 41.2])
def test_shifted_values_outside_0_to_1_are_rejected(model, value):
    with pytest.raises(ValueError, match=r"'first' .*, V2: AP50 is .*not a fraction"):
        compare([on_v2(model('first'), value=value)])
