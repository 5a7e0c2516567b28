from __future__ import annotations

import sys
from xml.etree import ElementTree

import matplotlib
import pytest

from adasap_det.robustness.report.figures.svg import draw


def plot(text):
    def plot_into(figure):
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.plot([0, 1, 2], [0, 2, 1], marker='o')
        axes.set_title(text)

    return plot_into


@pytest.mark.parametrize('text', ['<b>&"x"', '$x$ and $', 'ümläut 模型', '\\alpha_{'])
def test_text_is_kept_as_text_and_escaped(text):
    svg = str(draw('f', text, plot(text), width=200, height=100).svg)
    root = ElementTree.fromstring(svg)
    assert text in [element.text for element in root.iter('text')]
    assert root.get('aria-label') == text
    assert 'font-family' not in svg and 'DejaVu' not in svg


def test_ids_of_two_figures_are_distinct():
    found = []
    for name in ('one', 'two'):
        root = ElementTree.fromstring(draw(name, 'alt', plot('t'), width=200, height=100).svg)
        ids = [element.get('id') for element in root.iter() if element.get('id')]
        assert ids[0] == name and len(ids) > 1
        found += ids
    assert len(found) == len(set(found))


def test_size_is_in_pixels_and_no_style_leaks_into_the_page():
    figure = draw('f', 'alt', plot('t'), width=200, height=100)
    root = ElementTree.fromstring(figure.svg)
    assert (root.get('width'), root.get('height')) == ('200', '100')
    assert [float(v) for v in root.get('viewBox').split()] == [0, 0, 200, 100]
    tags = {element.tag for element in root.iter()}
    assert not {'style', 'metadata', 'script'} & tags
    assert 'xmlns' not in figure.svg and '<?xml' not in figure.svg


def test_user_settings_are_ignored_and_unchanged():
    before = draw('f', 'alt', plot('t'), width=200, height=100).svg
    with matplotlib.rc_context({'svg.fonttype': 'path', 'lines.linewidth': 9, 'font.size': 30}):
        assert draw('f', 'alt', plot('t'), width=200, height=100).svg == before
        assert matplotlib.rcParams['lines.linewidth'] == 9


def test_pyplot_is_not_used(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)  # an import would fail
    draw('f', 'alt', plot('t'), width=200, height=100)
