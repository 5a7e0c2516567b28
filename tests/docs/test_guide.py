"""The guide builds without a warning and has every page, flag and package."""

import html
import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

import adasap_det

from ..helpers.code_blocks import ROOT
from ..helpers.commands import parser_of

pytestmark = pytest.mark.slow

TOOLS = [
    re.search(r'^from (adasap_det\.\S+) import main$', path.read_text('utf-8'), re.M)[1]
    for path in sorted((ROOT / 'tools').glob('*.py'))
]

SPHINX = (sys.executable, '-m', 'sphinx', *['-W', '-n', '--keep-going', '-q', '-b', 'html', 'docs'])


@pytest.fixture(scope='module')
def guide(tmp_path_factory):
    """HTML of each page by its name."""
    out = tmp_path_factory.mktemp('guide')
    done = subprocess.run(
        [*SPHINX, str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return {path.stem: path.read_text('utf-8') for path in out.glob('*.html')}


def _text(page):
    return html.unescape(re.sub(r'<[^>]+>', '', re.sub(r'</d[td]>', '\n', page)))


def test_every_page_is_built(guide):
    assert {path.stem for path in (ROOT / 'docs').glob('*.md')} <= set(guide)


def test_pages_load_nothing_from_the_network(guide):
    for name, page in guide.items():
        assert not re.search(r'<(script|img)[^>]+src="(https?:)?//', page), name
        assert not re.search(r'<link[^>]+stylesheet[^>]+href="(https?:)?//', page), name


@pytest.mark.parametrize('module', TOOLS)
def test_every_flag_of_every_tool_is_listed(guide, module):
    parser = parser_of(module)
    name = module.rpartition('.')[2].replace('_', '-')
    text = _text(re.search(rf'<section id="{name}-py">.*?</section>', guide['tools'], re.S)[0])
    for action in parser._actions:
        if action.help == '==SUPPRESS==' or action.dest == 'help':
            continue
        for written in action.option_strings or [action.metavar or action.dest]:
            assert re.search(rf'(?<![\w-]){re.escape(written)}(?![\w-])', text), written


def test_every_public_package_is_in_the_reference():
    text = (ROOT / 'docs/api.md').read_text('utf-8')
    found = pkgutil.walk_packages(adasap_det.__path__, 'adasap_det.')
    # compat has nothing to call; robustness and pruning only export, or are exported, once more.
    left_out = ('adasap_det.compat', 'adasap_det.pruning.importance', 'adasap_det.robustness')
    for name in (module.name for module in found if module.ispkg):
        if hasattr(importlib.import_module(name), '__all__') and name not in left_out:
            assert f'automodule:: {name}\n' in text, name
