"""Numbers and names in the figures."""

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


def texts(figure):
    return [element.text for element in ElementTree.fromstring(figure.svg).iter('text')]


def test_heat_maps_show_every_value(comparison):
    figures = heat_maps(comparison)
    assert [figure.name for figure in figures] == ['heat-0', 'heat-1', 'heat-2']
    shown = texts(figures[1])
    for value in comparison.values[1].values():
        assert f'{100 * value:.1f}' in shown
    assert len(shown) == 2 + 6 + 15 * 7 - 1  # title, headers, rows; no subtitle
    assert 'JPEG compression' in shown


def fills(figure):
    """Colours of the cells, in the order of the figure."""
    styles = [e.get('style', '') for e in ElementTree.fromstring(figure.svg).iter('path')]
    return [style for style in styles if 'fill: #' in style]


def test_heat_maps_share_one_scale(model):
    cells = [('fog', 1)]
    high, low = model('high', clean=0.8, cells=cells), model('low', clean=0.3, cells=cells)
    twin = model('high', clean=0.8, cells=cells)
    one, two, three = map(fills, heat_maps(compare([high, low, twin])))
    assert one == three != two
    # On its own scale, a single value always has the same colour.
    assert fills(heat_maps(compare([high]))[0]) == fills(heat_maps(compare([low]))[0])


def test_missing_cells_are_dashes(model):
    shown = texts(heat_maps(compare([model(cells=[('fog', 1), ('snow', 2)])]))[0])
    assert shown.count('\u2013') == 4  # two cells, and two means


def test_difference_maps_of_three_models_show_every_pair(comparison):
    figures = difference_maps(comparison)
    assert [d.name for d in figures] == ['difference-0-1', 'difference-0-2', 'difference-1-2']
    value = 100 * (comparison.values[2]['fog', 3] - comparison.values[1]['fog', 3])
    shown = texts(figures[2])
    assert f'{value:+.1f}'.replace('-', '\u2212') in shown
    assert shown[:2] == ['AdaSAP 50 %', 'minus Pruned 50 %']
    assert difference_maps(compare(comparison.results[:1])) == []


def test_one_curve_panel_for_all_corruptions_and_each_family(comparison):
    figures = severity_curves(comparison)
    names = ['curve-all', 'curve-noise', 'curve-blur', 'curve-weather', 'curve-digital']
    assert [d.name for d in figures] == names
    assert 'Mean over 15 corruptions' in texts(figures[0])


def test_curves_omit_corruptions_with_missing_severities(model):
    cells = [key for key in FULL if key != ('fog', 4)]
    figures = {d.name: d for d in severity_curves(compare([model(cells=cells)]))}
    assert 'Mean over 14 corruptions' in texts(figures['curve-all'])
    assert 'Weather: Snow, Frost, Brightness' in texts(figures['curve-weather'])


def test_scatter_has_model_names_and_the_name_of_the_mean(comparison, model):
    params, latency = scatters(comparison)
    assert {'Dense SSD300', 'Pruned 50 %', 'AdaSAP 50 %'} <= set(texts(params))
    assert 'corrupted AP50 (mPC), %' in texts(latency)
    figures = scatters(compare([model(cells=FULL[:3], latency_ms=None)]))
    assert [d.name for d in figures] == ['scatter-params']
    assert 'corrupted AP50 (mean over 3 of 75 cells), %' in texts(figures[0])


def test_latency_scatter_is_omitted_for_different_devices(model):
    c = compare([model('a'), model('b', device='another')])
    assert [d.name for d in scatters(c)] == ['scatter-params']


@pytest.mark.parametrize(('layers', 'columns'), [(1, 1), (16, 1), (17, 2), (66, 3), (130, 6)])
def test_every_layer_has_a_bar_and_columns_fit_the_page(layers, columns):
    names = tuple(f'backbone.layer{i}' for i in range(layers))
    table = ChannelTable(names, (64,) * layers, (1,), ((24,) * layers,))
    figures = channel_bars(table, 'c')
    assert len(figures) == columns
    shown = [text for d in figures for text in texts(d)]
    assert [text for text in shown if text in names] == list(names)
    assert shown.count('24 / 64') == layers
    assert max(d.height for d in figures) <= 40 * 15 + 40
