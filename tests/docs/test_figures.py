"""The guide's figures show what the package's code computes today."""

import importlib
import re
import sys

import pytest

from ..helpers.code_blocks import ROOT

SCRIPTS = ROOT / 'docs/scripts'
FIGURES = ROOT / 'docs/figures'
NAMES = sorted(path.stem for path in SCRIPTS.glob('*.py') if path.stem != 'drawing')


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for name in (*NAMES, 'drawing'):
        sys.modules.pop(name, None)


@pytest.mark.parametrize('name', NAMES)
def test_figure_shows_what_its_script_computes(name, tmp_path):
    drawing, script = importlib.import_module('drawing'), importlib.import_module(name)
    found = script.data()
    assert flat(drawing.data_of(FIGURES / f'{name}.svg')) == pytest.approx(flat(found), rel=1e-4)
    script.draw(found, tmp_path / 'again.svg')
    assert flat(drawing.data_of(tmp_path / 'again.svg')) == flat(found)


def test_every_figure_is_shown_on_a_page():
    pages = [*(ROOT / 'docs').glob('*.md'), ROOT / 'README.md', ROOT / 'benchmarks/README.md']
    shown = re.findall(r'figures/(\w+)\.svg', ''.join(p.read_text('utf-8') for p in pages))
    assert {path.stem for path in FIGURES.glob('*.svg')} == set(shown)


def flat(value, name=''):
    """Numbers by their place in a nest of dicts and lists."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flat(value[key], f'{name}.{key}').items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f'{name}.{i}').items()}
    return {name: value}
