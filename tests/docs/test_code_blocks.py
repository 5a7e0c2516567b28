"""Every code block of the docs and the README is run, loaded or checked."""

import inspect
from collections.abc import Mapping
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, OPTIM_WRAPPERS, TRANSFORMS

from adasap_det.registry import BUDGETS, IMPORTANCES

from ..helpers.code_blocks import LANGUAGES, PAGES, SHOWN, blocks_of, parse
from ..helpers.commands import check, split
from ..helpers.sandbox import Sandbox

# Keys that MMEngine removes before it calls the constructor.
REMOVED = ('constructor', 'paramwise_cfg', 'priority')
BLOCKS = {page: blocks_of(page) for page in PAGES}


def every(*marks, language=None):
    found = [b for page in PAGES for b in BLOCKS[page] if b.mark in marks]
    return [b for b in found if language in (None, b.language)]


def to_be_run(page):
    return [b for b in BLOCKS[page] if b.language in LANGUAGES and b.mark in ('', 'file')]


@pytest.mark.slow
@pytest.mark.parametrize('page', [p for p in PAGES if to_be_run(p)], ids=lambda p: p.name)
def test_blocks_of_a_page_run_one_after_another(page, tmp_path, forks):
    sandbox = Sandbox(tmp_path, forks)
    for block in to_be_run(page):
        if block.mark == 'file':
            (tmp_path / block.value).write_text(block.text)
        else:
            sandbox.run(block)


@pytest.mark.parametrize('block', every('file', 'config', language='python'), ids=str)
def test_configs_load_and_their_options_exist(block, tmp_path):
    # Files of a page may inherit from each other.
    for other in BLOCKS[block.page]:
        if other.mark == 'file':
            (tmp_path / other.value).write_text(other.text)
    path = tmp_path / (block.value if block.mark == 'file' else 'part.py')
    path.write_text(block.text)
    check_options(Config.fromfile(path).to_dict())


@pytest.mark.parametrize('block', every('not run'), ids=str)
def test_commands_that_are_not_run_name_existing_tools_and_options(block):
    assert block.language == 'bash', f'{block}: Python that cannot run must be a config'
    for words in split(block.text):
        check(words)


@pytest.mark.parametrize('block', every(''), ids=str)
def test_blocks_have_a_checked_language(block):
    assert block.language in LANGUAGES or SHOWN.fullmatch(block.language or 'text')


def check_options(value):
    """Assert that every ``type`` of this package is given only options that it has."""
    if isinstance(value, Mapping):
        kind = value.get('type')
        for registry in (OPTIM_WRAPPERS, HOOKS, TRANSFORMS, BUDGETS, IMPORTANCES):
            found = registry.get(kind) if isinstance(kind, str) else None
            if found is not None and found.__module__.startswith('adasap_det.'):
                known = {
                    name
                    for cls in found.__mro__[:-1]
                    for name in inspect.signature(cls.__init__).parameters
                }
                assert set(value) - {'type', '_scope_', *REMOVED} <= known, (kind, dict(value))
        for item in value.values():
            check_options(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_options(item)


# ------------------------------------------------------------------ tests of the checks


@pytest.mark.parametrize(
    'command',
    [
        'python tools/train.py config.py --no-such-option',
        'python tools/no_such_tool.py',
        'adasap-no-such-tool config.py',
        'torchrun --nproc-per-node=2 tools/train.py config.py --launcher nobody',
        'torchrun --no-such-option tools/train.py config.py',
        'srun -n 2 python tools/train.py config.py --lancher slurm',
        "pip install -e '.[no-such-extra]'",
        'pip install -c no_such_file.txt numpy',
        'make no-such-target',
        'python -m adasap_det.demo --no-such-option',
        'python -m pytest -q tests/no_such_test.py',
        'dask worker scheduler.json --no-such-option',
        'rm -rf data',
    ],
)
def test_invalid_commands_are_rejected(command):
    (words,) = split(command)
    with pytest.raises(ValueError):
        check(words)


def test_unknown_options_of_a_config_are_found():
    check_options({'a': [{'type': 'PruningHook', 'round_to': 8}]})
    with pytest.raises(AssertionError):
        check_options({'a': [{'type': 'PruningHook', 'rounds_to': 8}]})


def test_blocks_are_parsed_with_their_marks():
    text = '<!-- file: a.py -->\n\n```python\nx = 1\n```\n````text\n```\n````\n```bash\nls\n```\n'
    first, second, third = parse(text, Path('page.md'))
    assert (first.line, first.mark, first.value, first.text) == (3, 'file', 'a.py', 'x = 1\n')
    assert (second.language, second.text, third.mark) == ('text', '```\n', '')
    for wrong in (
        '<!-- not run -->',
        '<!-- nor run: x -->',
        '<!-- file: -->',
        '<!-- config: x -->',
    ):
        with pytest.raises(ValueError):
            parse(f'{wrong}\n```bash\nls\n```\n', Path('page.md'))
    (inside,) = parse('1. x\n\n   ```bash\n   ls\n   ```\n', Path('page.md'))
    assert inside.text == 'ls\n'
    with pytest.raises(ValueError, match='not closed'):
        parse('```bash\nls\n', Path('page.md'))
