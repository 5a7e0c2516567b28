from __future__ import annotations

import sys
from xml.etree import ElementTree

import matplotlib
import pytest

from adasap_det.robustness.report.figures.svg import draw


def paint(text):
    def into(figure):
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.plot([0, 1, 2], [0, 2, 1], marker='o')
        axes.set_title(text)

    return into


@pytest.mark.parametrize('text', ['<b>&"x"', '$x$ and $', 'ümläut 模型', '\\alpha_{'])
def test_text_stays_text_and_is_escaped(text):
    svg = str(draw('f', text, paint(text), width=200, height=100).svg)
    root = ElementTree.fromstring(svg)
    assert text in [element.text for element in root.iter('text')]
    assert root.get('aria-label') == text
    assert 'font-family' not in svg and 'DejaVu' not in svg


def test_two_drawings_share_no_ids():
    found = []
    for name in ('one', 'two'):
        root = ElementTree.fromstring(draw(name, 'alt', paint('t'), width=200, height=100).svg)
        ids = [element.get('id') for element in root.iter() if element.get('id')]
        assert ids[0] == name and len(ids) > 1
        found += ids
    assert len(found) == len(set(found))


def test_a_unit_is_a_pixel_and_nothing_reaches_the_rest_of_the_page():
    drawing = draw('f', 'alt', paint('t'), width=200, height=100)
    root = ElementTree.fromstring(drawing.svg)
    assert (root.get('width'), root.get('height')) == ('200', '100')
    assert [float(v) for v in root.get('viewBox').split()] == [0, 0, 200, 100]
    tags = {element.tag for element in root.iter()}
    assert not {'style', 'metadata', 'script'} & tags
    assert 'xmlns' not in drawing.svg and '<?xml' not in drawing.svg


def test_settings_of_the_user_neither_matter_nor_change():
    before = draw('f', 'alt', paint('t'), width=200, height=100).svg
    with matplotlib.rc_context({'svg.fonttype': 'path', 'lines.linewidth': 9, 'font.size': 30}):
        assert draw('f', 'alt', paint('t'), width=200, height=100).svg == before
        assert matplotlib.rcParams['lines.linewidth'] == 9


def test_pyplot_is_not_used(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)  # whoever imports it fails
    draw('f', 'alt', paint('t'), width=200, height=100)
