"""The numbers and names that the figures show."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from adasap_det.robustness.report.channel_tables import ChannelTable
from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.report.figures.channel_bars import channel_bars
from adasap_det.robustness.report.figures.curves import severity_curves
from adasap_det.robustness.report.figures.heat_maps import difference_maps, heat_maps
from adasap_det.robustness.report.figures.scatter import scatters

from ....helpers.result_folders import FULL


def texts(drawing):
    return [element.text for element in ElementTree.fromstring(drawing.svg).iter('text')]


def test_heat_maps_show_every_value(comparison):
    drawings = heat_maps(comparison)
    assert [drawing.name for drawing in drawings] == ['heat-0', 'heat-1', 'heat-2']
    shown = texts(drawings[1])
    for value in comparison.values[1].values():
        assert f'{100 * value:.1f}' in shown
    assert len(shown) == 2 + 6 + 15 * 7 - 1  # title, heads, rows; no line below the title
    assert 'JPEG compression' in shown


def fills(drawing):
    """Colours of the cells, in the order of the figure."""
    styles = [e.get('style', '') for e in ElementTree.fromstring(drawing.svg).iter('path')]
    return [style for style in styles if 'fill: #' in style]


def test_heat_maps_share_one_scale(model):
    cells = [('fog', 1)]
    high, low = model('high', clean=0.8, cells=cells), model('low', clean=0.3, cells=cells)
    twin = model('high', clean=0.8, cells=cells)
    one, two, three = map(fills, heat_maps(compare([high, low, twin])))
    assert one == three != two
    # On a scale of its own, the only value would look like any other only value.
    assert fills(heat_maps(compare([high]))[0]) == fills(heat_maps(compare([low]))[0])


def test_a_missing_cell_is_a_dash(model):
    shown = texts(heat_maps(compare([model(cells=[('fog', 1), ('snow', 2)])]))[0])
    assert shown.count('\u2013') == 4  # two cells, and two means


def test_differences_of_each_pair_of_three(comparison):
    drawings = difference_maps(comparison)
    assert [d.name for d in drawings] == ['difference-0-1', 'difference-0-2', 'difference-1-2']
    value = 100 * (comparison.values[2]['fog', 3] - comparison.values[1]['fog', 3])
    shown = texts(drawings[2])
    assert f'{value:+.1f}'.replace('-', '\u2212') in shown
    assert shown[:2] == ['AdaSAP 50 %', 'minus Pruned 50 %']
    assert difference_maps(compare(comparison.results[:1])) == []


def test_curves_of_all_corruptions_and_of_each_family(comparison):
    drawings = severity_curves(comparison)
    names = ['curve-all', 'curve-noise', 'curve-blur', 'curve-weather', 'curve-digital']
    assert [d.name for d in drawings] == names
    assert 'Mean over 15 corruptions' in texts(drawings[0])


def test_curves_leave_out_corruptions_that_lack_severities(model):
    cells = [key for key in FULL if key != ('fog', 4)]
    drawings = {d.name: d for d in severity_curves(compare([model(cells=cells)]))}
    assert 'Mean over 14 corruptions' in texts(drawings['curve-all'])
    assert 'Weather: Snow, Frost, Brightness' in texts(drawings['curve-weather'])


def test_scatter_names_models_and_says_which_mean(comparison, model):
    params, latency = scatters(comparison)
    assert {'Dense SSD300', 'Pruned 50 %', 'AdaSAP 50 %'} <= set(texts(params))
    assert 'corrupted AP50 (mPC), %' in texts(latency)
    drawings = scatters(compare([model(cells=FULL[:3], latency_ms=None)]))
    assert [d.name for d in drawings] == ['scatter-params']
    assert 'corrupted AP50 (mean over 3 of 75 cells), %' in texts(drawings[0])


def test_scatter_by_latency_needs_one_device(model):
    c = compare([model('a'), model('b', device='another')])
    assert [d.name for d in scatters(c)] == ['scatter-params']


@pytest.mark.parametrize(('layers', 'columns'), [(1, 1), (16, 1), (17, 2), (66, 3), (130, 6)])
def test_every_layer_has_a_bar_in_columns_that_fit(layers, columns):
    names = tuple(f'backbone.layer{i}' for i in range(layers))
    table = ChannelTable(names, (64,) * layers, (1,), ((24,) * layers,))
    drawings = channel_bars(table, 'c')
    assert len(drawings) == columns
    shown = [text for d in drawings for text in texts(d)]
    assert [text for text in shown if text in names] == list(names)
    assert shown.count('24 / 64') == layers
    assert max(d.height for d in drawings) <= 40 * 15 + 40
