"""Check shell commands without running them: the tool exists and its parser accepts the options."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import itertools
import re
import runpy
import shlex
from collections.abc import Sequence
from pathlib import Path

from .code_blocks import ROOT

# The package's commands: adasap-train is adasap_det.cli.train.
_ENTRY = re.compile(r'adasap-([a-z-]+)')
_KNOWN = ('cd', 'git', 'source')
_MODULE_OF = {'prepare_voc': 'adasap_det.datasets.prepare_voc'}


def split(text: str) -> list[list[str]]:
    """Return the commands of a block as lists of words, without comments."""
    lines = text.replace('\\\n', ' ').splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    return [words[:-1] if words[-1] == '&' else words for words in commands if words]


def check(words: Sequence[str]) -> None:
    """Check one command.

    Raises:
        ValueError: If its tool or a file does not exist, or an option is unknown.
    """
    words = list(words)
    while words and re.fullmatch(r'\w+=.*', words[0]):  # environment
        del words[0]
    program, rest = words[0], words[1:]
    if program in ('python', 'python3'):
        _check_python([word for word in rest if word != '-u'])
    elif entry := _ENTRY.fullmatch(program):
        _check_module(f'adasap_det.cli.{entry[1].replace("-", "_")}', rest)
    elif program == 'torchrun':
        _check_torchrun(rest)
    elif program in ('srun', 'mpirun'):
        started = next((i for i, word in enumerate(rest) if word in ('python', 'dask')), None)
        if started is None:
            raise ValueError(f'{program} starts no known program: {shlex.join(words)}')
        check(rest[started:])
    elif program == 'pip':
        _check_pip(rest)
    elif program == 'make':
        _check_make(rest)
    elif program == 'dask':
        _check_dask(rest)
    elif program == 'sbatch':
        pass  # its script is a separate block
    elif program not in _KNOWN:
        raise ValueError(f'{program!r} is not a command that the docs may use')


def parser_of(module: str) -> argparse.ArgumentParser:
    """Return the parser of a tool's module."""
    return importlib.import_module(module)._parser()


def _check_python(words: list[str]) -> None:
    if words[0] == '-m':
        if words[1] == 'pip':
            _check_pip(words[2:])
        elif words[1] == 'adasap_det.demo':
            _check_text(ROOT / 'adasap_det/demo/__main__.py', words[2:])
        elif words[1] == 'venv':
            pass
        elif words[1] == 'pytest':
            _check_paths([word for word in words[2:] if not word.startswith('-')])
        else:
            _check_module(words[1], words[2:])
        return
    path = ROOT / words[0]
    if path.parent == ROOT / 'tools' and path.is_file():
        _check_module(_MODULE_OF.get(path.stem, f'adasap_det.cli.{path.stem}'), words[1:])
    elif path.parent in (ROOT / 'benchmarks', ROOT / 'docs/scripts'):
        _check_text(path, words[1:])
    else:
        raise ValueError(f'{words[0]} is not a tool')


def _check_paths(paths: Sequence[str]) -> None:
    missing = [path for path in paths if not (ROOT / path).exists()]
    if missing:
        raise ValueError(f'no such file: {", ".join(missing)}')


def _check_module(module: str, words: Sequence[str]) -> None:
    try:
        parser = parser_of(module)
    except ImportError as error:
        raise ValueError(f'{module} is not a tool: {error}') from None
    _parse(parser, words)


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return parser.parse_args(list(words))
    except SystemExit:
        last = stderr.getvalue().strip().splitlines()[-1]
        raise ValueError(f'{shlex.join(words)}: {last}') from None


def _check_torchrun(words: Sequence[str]) -> None:
    from torch.distributed.run import get_args_parser

    args = _parse(get_args_parser(), words)
    check(['python', args.training_script, *args.training_script_args])


def _check_text(path: Path, words: Sequence[str]) -> None:
    """Look for the options in the text of a script whose parser cannot be imported."""
    if not path.is_file():
        raise ValueError(f'{path.relative_to(ROOT)} does not exist')
    text = path.read_text('utf-8')
    for word in words:
        if word.startswith('--') and f"'{word}'" not in text:
            raise ValueError(f'{path.relative_to(ROOT)} has no option {word}')


def _check_pip(words: list[str]) -> None:
    for flag, value in itertools.pairwise(words):
        if flag in ('-c', '--constraint') and not (ROOT / value).is_file():
            raise ValueError(f'pip: {value} does not exist')
    for extras in re.findall(r'(?:^\.|adasap-det)\[([\w,-]+)\]', '\n'.join(words), re.M):
        unknown = set(extras.split(',')) - set(_extras())
        if unknown:
            raise ValueError(f'pip: setup.py has no extra {sorted(unknown)}')


def _extras() -> list[str]:
    import setuptools

    found: dict = {}
    original, setuptools.setup = setuptools.setup, found.update
    try:
        runpy.run_path(str(ROOT / 'setup.py'))
    finally:
        setuptools.setup = original
    return list(found['extras_require'])


def _check_make(words: list[str]) -> None:
    makefile = (ROOT / 'Makefile').read_text('utf-8')
    for target in (word for word in words if '=' not in word):
        if not re.search(rf'^{re.escape(target)}:', makefile, re.M):
            raise ValueError(f'make: there is no target {target}')


def _check_dask(words: list[str]) -> None:
    from click.exceptions import UsageError

    module = importlib.import_module(f'distributed.cli.dask_{words[0]}')
    try:
        module.main.make_context(words[0], list(words[1:]))
    except UsageError as error:
        raise ValueError(f'dask {shlex.join(words)}: {error}') from None
