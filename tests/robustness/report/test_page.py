from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.report.page import render_page

from ...helpers.result_folders import FULL

NASTY = ('<script>alert(1)</script>', '" onload=\'x\' a&b"c &lt; $\\frac{1}{0$ {{ 7*7 }}')
SMALL = [(c, s) for c in ('fog', 'contrast') for s in (1, 2)]


class Page(HTMLParser):
    """Tags with attributes, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], '', []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def shape(page):
    """Tags and attribute names of a page."""
    return {tag for tag, _ in page.tags} - {'h3', 'p'}, {k for _, attrs in page.tags for k in attrs}


@pytest.fixture(scope='module')
def html(comparison):
    return render_page(comparison, title='Robustness of SSD300')


def test_page_has_all_figures_and_sections(html):
    page = Page(html)
    figures = [attrs['id'] for tag, attrs in page.tags if tag == 'svg']
    for prefix, count in (
        ('heat', 3), ('difference', 3), ('curve', 5), ('scatter', 2), ('channels', 3), ('key', 3),
    ):  # fmt: skip
        assert sum(name.startswith(f'{prefix}-') for name in figures) == count, prefix
    assert sum(tag == 'img' for tag, _ in page.tags) == 3 * 16
    sections = [attrs['id'] for tag, attrs in page.tags if tag == 'section']
    assert sections == [
        'models', 'severity-map', 'curves', 'scatter', 'corruptions', 'classes', 'images',
        'channels', 'measured',
    ]  # fmt: skip
    assert 'mPC' in page.text and 'incomplete' not in page.text


def test_page_loads_nothing_and_has_no_script(html):
    page = Page(html)
    assert not {'script', 'iframe', 'object', 'embed', 'base'} & {tag for tag, _ in page.tags}
    for tag, attrs in page.tags:
        for key, value in attrs.items():
            assert not key.startswith('on'), (tag, key)
            if key in ('src', 'href', 'srcset', 'action', 'data'):
                assert value.startswith(('#', 'data:')), (tag, value)
    assert not re.search(r'https?://|@import|url\((?!#)', html)


def test_ids_are_unique_and_references_resolve(html):
    page = Page(html)
    ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    assert references and set(references) <= set(ids)


def test_figures_and_images_have_alternative_text(html):
    for tag, attrs in Page(html).tags:
        if tag == 'svg':
            assert attrs['role'] == 'img' and len(attrs['aria-label']) > 10
        if tag == 'img':
            assert 'predictions of' in attrs['alt']


def test_names_do_not_reorder_the_text_around_them(model):
    names = 'מודל א', '\u202eevil', 'plain'
    results = [model(name, cells=SMALL, source=name, examples=[('fog', 1)]) for name in names]
    html = render_page(compare(results), title='Title')
    assert '\u202e' not in html and '\ufffdevil' in html
    # Names are isolated from their sentence; figures and table cells are apart anyway.
    text = re.sub(r'<svg.*?</svg>|<td>[^<]*</td>|="[^"]*"', '', html, flags=re.S)
    others = re.sub(r'<bdi.*?</bdi>', '', text, flags=re.S)
    assert names[0] in text and names[0] not in others


@pytest.mark.parametrize('name', NASTY)
def test_names_are_escaped_everywhere(model, html, name):
    layers = [(f'backbone.{name}', 8), ('backbone.x', 8)]
    one = model(
        name, classes=(name, 'y'), cells=SMALL, kept=0.5, layers=layers, config=name,
        checkpoint=name, checkpoint_sha256=name, device=name, examples=[('fog', 1)],
    )  # fmt: skip
    two = model(f'2{name}', classes=(name, 'y'), cells=SMALL, device=name)
    page = Page(render_page(compare([one, two]), title=name))
    # No tag and no attribute that a page with plain names does not have.
    for plain, nasty in zip(shape(Page(html)), shape(page), strict=True):
        assert nasty <= plain
    # As text: in the heading, the tables and the figures.
    assert page.text.count(name) >= 12


def test_page_is_deterministic(model):
    c = compare([model(cells=SMALL)])
    assert render_page(c, title='t') == render_page(c, title='t')


def test_incomplete_benchmark_is_stated_and_missing_cells_are_listed(model):
    cells = [key for key in FULL if key not in (('fog', 4), ('fog', 5), ('frost', 1))]
    text = Page(render_page(compare([model('a'), model('b', cells=cells)]), title='t')).text
    assert 'over 72 of 75 cells' in text and 'benchmark is incomplete' in text
    assert 'Frost 1; Fog 4, 5' in text
    assert not re.search(r'\b(mPC|rPC)\b', text)


def test_page_of_clean_results_only(model):
    html = render_page(compare([model(cells=())]), title='t')
    sections = [attrs['id'] for tag, attrs in Page(html).tags if tag == 'section']
    assert sections == ['models', 'classes', 'measured']


def test_page_of_eight_models(model):
    c = compare([model(f'model {i}', cells=SMALL, kept=1 - i / 10) for i in range(8)])
    figures = [attrs['id'] for tag, attrs in Page(render_page(c, title='t')).tags if tag == 'svg']
    assert sum(name.startswith('heat-') for name in figures) == 8
    # Against the baseline only.
    assert sum(name.startswith('difference-0-') for name in figures) == 7


def test_different_sources_are_stated(model):
    one, two = model('a', cells=SMALL), model('b', cells=SMALL, source='benchmark VOC-C, seed 0')
    text = Page(render_page(compare([one, two]), title='t')).text
    assert 'different sources' in text and 'on the fly, seed 0; benchmark VOC-C, seed 0' in text


def test_evaluation_details(html, results):
    text = Page(html).text
    for r in results:
        for part in (r.model.config, r.model.checkpoint, r.model.checkpoint_sha256, r.model.device):
            assert part in text
    assert 'different sources' not in text and 'on the fly, seed 0' in text
    assert 'VOCDataset, test' in text and '300 \u00d7 300' in text and '26,285,486' in text
