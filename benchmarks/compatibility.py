"""Install stacks of packages, each in its own environment, and run the tests on them.

    python benchmarks/compatibility.py --out DIR
    python benchmarks/compatibility.py --out DIR --stacks upstream --select -m "not slow"

A stack is a list of pip commands. Finished steps are not repeated: commands in an existing
environment, compiled wheels, and tests, unless the code, the commands or ``--select`` changed.
Every command writes a log, ``DIR/<stack>/<step>.log``. MMCV is compiled on ``MAX_JOBS`` cores (an
environment variable), for the CPU if there is no GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = '<!-- measured -->', '<!-- end -->'
LIMIT = 3 * 3600  # seconds per command
# Extras that the tests need besides the stack.
EXTRAS = 'test,export,cluster,docs'


@dataclass(frozen=True)
class Stack:
    """Packages to install together.

    Attributes:
        title: Title in the table.
        wheels: Requirements to compile once, after ``before``.
        before: Arguments of pip commands that install what compiling needs, such as torch.
        install: Arguments of the other pip commands; ``{root}`` is the checkout, ``{pins}`` its
            constraints.
    """

    title: str
    install: tuple[tuple[str, ...], ...]
    before: tuple[tuple[str, ...], ...] = ()
    wheels: tuple[str, ...] = ()


STACKS = {
    'upstream': Stack(
        title="OpenMMLab's releases, MMCV compiled",
        before=(('-c', '{pins}', 'torch', 'torchvision', 'numpy', 'psutil', 'ninja', 'wheel'),),
        wheels=('mmcv==2.1.0',),
        install=(
            ('-c', '{pins}', 'mmcv==2.1.0', 'mmengine==0.10.7', 'mmdet==3.3.0'),
            ('-c', '{pins}', 'mmpretrain==1.2.0', 'timm', '-e', f'{{root}}[{EXTRAS}]'),
        ),
    ),
    'onedl': Stack(
        title='the maintained line, pinned (`constraints.txt`)',
        install=(('-c', '{pins}', '-e', f'{{root}}[onedl,classification,{EXTRAS}]'),),
    ),
    'newest': Stack(
        title='the maintained line, newest of everything',
        install=(('-U', '-e', f'{{root}}[onedl,classification,{EXTRAS}]'),),
    ),
}
SHOWN = ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'torch-pruning')
ALIASES = {'onedl-mmdetection': 'mmdet', 'onedl-mmdet': 'mmdet'}


@dataclass
class Outcome:
    """Result of testing a stack.

    Attributes:
        stack: Name of the stack.
        versions: Versions by module; those of the maintained line begin with ``onedl``.
        python: Version of Python.
        compiled: Whether MMCV has compiled operators.
        counts: Number of tests ``passed``, ``failed`` and ``skipped``; None if they did not run.
        failures: First line of the message by name of the failed test.
        seconds: Duration of the tests.
        stopped: Step that failed, with a line of its log.
        key: Hash of the code, the commands and the selection of tests.
    """

    stack: str
    versions: dict[str, str] = field(default_factory=dict)
    python: str = ''
    compiled: bool | None = None
    counts: dict[str, int] | None = None
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: str | None = None
    key: str = ''


class StepError(Exception):
    """A command failed; the message names it and quotes its log."""


class Folder:
    """Folder with a stack's environment, logs and results.

    Args:
        path: The folder.
        python: Interpreter that creates the environment.
    """

    def __init__(self, path: Path, python: str) -> None:
        self.path = path
        self.python = python
        self.wheels = path / 'wheels'
        self.wheels.mkdir(parents=True, exist_ok=True)

    @property
    def own_python(self) -> str:
        return str(self.path / 'venv' / 'bin' / 'python')

    def step(self, name: str, command: Sequence[str], *, ok: Sequence[int] = (0,)) -> None:
        """Run a command with a log, unless it has succeeded before.

        Raises:
            StepError: If its exit status is none of ``ok``.
        """
        mark = self.path / f'{name}.done'
        wanted = json.dumps(list(command))
        if mark.is_file() and mark.read_text() == wanted:
            print(f'{self.path.name}: {name} is up to date', flush=True)
            return
        mark.unlink(missing_ok=True)
        print(f'{self.path.name}: {name}', flush=True)
        log = self.path / f'{name}.log'
        with log.open('w') as file:
            file.write(' '.join(command) + '\n')
            file.flush()
            try:
                status = subprocess.run(
                    command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, timeout=LIMIT
                ).returncode
            except subprocess.TimeoutExpired:
                status = -1
        if status not in ok:
            lines = [line.strip() for line in log.read_text(errors='replace').splitlines()[1:]]
            error = next((line for line in lines if re.search(r'\berror: ', line)), None)
            raise StepError(f'{name}: {error or (lines or ["no output"])[-1]}')
        mark.write_text(wanted)

    def pip(self, name: str, *arguments: str) -> None:
        """Run the environment's pip."""
        self.step(name, [self.own_python, '-m', 'pip', *arguments])


def prepare(folder: Folder, stack: Stack) -> None:
    """Create the environment, compile the wheels and install the packages.

    Raises:
        StepError: If a command fails.
    """
    mark = folder.path / 'recipe'
    if not mark.is_file() or mark.read_text() != recipe(stack, folder.python):
        for old in folder.path.glob('*.done'):
            old.unlink()
        shutil.rmtree(folder.path / 'venv', ignore_errors=True)
        mark.write_text(recipe(stack, folder.python))

    def filled(arguments: Sequence[str]) -> list[str]:
        pins = str(ROOT / 'constraints.txt')
        return [a.replace('{pins}', pins).replace('{root}', str(ROOT)) for a in arguments]

    folder.step('venv', [folder.python, '-m', 'venv', str(folder.path / 'venv')])
    # MMCV's setup.py still needs pkg_resources, which later setuptools lack.
    folder.pip('setuptools', 'install', 'setuptools<82', 'wheel')
    for number, arguments in enumerate(stack.before, 1):
        folder.pip(f'before{number}', 'install', *filled(arguments))
    for requirement in stack.wheels:
        name, _, version = requirement.partition('==')
        if not list(folder.wheels.glob(f'{name}-{version}-*.whl')):
            options = ('--no-build-isolation', '--no-deps', '--no-binary', name)
            folder.pip(f'compile-{name}', 'wheel', '-v', *options, requirement,
                       '-w', str(folder.wheels))  # fmt: skip
    for number, arguments in enumerate(stack.install, 1):
        links = ('--find-links', str(folder.wheels))
        folder.pip(f'install{number}', 'install', *links, *filled(arguments))


def recipe(stack: Stack, python: str) -> str:
    """Hash of the commands and files that determine an environment."""
    files = [(ROOT / name).read_text('utf-8') for name in ('constraints.txt', 'setup.py')]
    return hashlib.sha256(repr((stack, python, files)).encode()).hexdigest()


def describe(folder: Folder, outcome: Outcome) -> None:
    """Record the versions, and whether MMCV is compiled."""
    facts = (
        'import json, platform\n'
        'from importlib.util import find_spec\n'
        'from importlib.metadata import distributions\n'
        'names = {d.metadata["Name"]: d.version for d in distributions()}\n'
        'compiled = find_spec("mmcv._ext") is not None\n'
        'print(json.dumps([platform.python_version(), compiled, names]))'
    )
    done = subprocess.run(
        [folder.own_python, '-c', facts], capture_output=True, text=True, check=True
    )
    outcome.python, outcome.compiled, names = json.loads(done.stdout)
    outcome.versions = module_versions(names)


def module_versions(distributions: dict[str, str]) -> dict[str, str]:
    """Return the versions that the table shows, by module; 'onedl' marks the maintained line.

    Args:
        distributions: Versions by name of the distribution.
    """
    found = {}
    for name, version in distributions.items():
        name = name.lower().replace('_', '-')
        module = ALIASES.get(name, name.removeprefix('onedl-'))
        if module in SHOWN:
            found[module] = f'onedl {version}' if name.startswith('onedl-') else version
    return {name: found[name] for name in SHOWN if name in found}


def test(folder: Folder, select: Sequence[str]) -> Path:
    """Run the tests.

    Returns:
        Path of the results, pytest's JUnit XML.

    Raises:
        StepError: If pytest could not run them.
    """
    results = folder.path / 'results.xml'
    results.unlink(missing_ok=True)
    (folder.path / 'tests.done').unlink(missing_ok=True)
    own = ['-q', '-p', 'no:cacheprovider', f'--junitxml={results}']
    folder.step('tests', [folder.own_python, '-m', 'pytest', *own, *select], ok=(0, 1))
    return results


def code() -> str:
    """Hash of the tested code, committed or not."""
    listed = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard', 'adasap_det', 'tests', 'configs', 'tools'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    digest = hashlib.sha256()
    for name in sorted(listed):
        path = ROOT / name
        if path.is_file():
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def read_results(path: Path, outcome: Outcome) -> None:
    """Count the tests of a JUnit file and record the failures."""
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    for suite in ElementTree.parse(path).getroot().iter('testsuite'):
        outcome.seconds += float(suite.get('time', 0))
        for case in suite.iter('testcase'):
            problem = case.find('failure')
            problem = case.find('error') if problem is None else problem
            if problem is not None:
                counts['failed'] += 1
                name = f'{case.get("classname", "").replace(".", "/")}.py::{case.get("name")}'
                message = (problem.get('message') or '').strip().splitlines()
                outcome.failures[name] = message[0][:160] if message else ''
            else:
                counts['skipped' if case.find('skipped') is not None else 'passed'] += 1
    outcome.counts = counts


def table(outcomes: Sequence[Outcome]) -> str:
    """Format the outcomes in Markdown: a table, and the failures below it."""
    head = ['', 'Python', *SHOWN, 'passed', 'failed', 'skipped', 'time']
    lines = [f'| {" | ".join(head)} |', f'| {" | ".join(["---"] * len(head))} |']
    notes = []
    for outcome in outcomes:
        versions = dict(outcome.versions)
        if 'mmcv' in versions:
            versions['mmcv'] += ', compiled' if outcome.compiled else ', not compiled'
        row = [STACKS[outcome.stack].title, outcome.python or '-']
        row += [versions.get(name, '-') for name in SHOWN]
        if outcome.counts is None:
            row += ['-'] * 4
            notes.append(f'- {outcome.stack} stopped at {outcome.stopped}')
        else:
            row += [str(outcome.counts[key]) for key in ('passed', 'failed', 'skipped')]
            row.append(f'{outcome.seconds / 60:.0f} min')
        lines.append(f'| {" | ".join(row)} |')
        notes += [
            f'- {outcome.stack}: `{test}`: {message}' for test, message in outcome.failures.items()
        ]
    return '\n'.join([*lines, '', *notes]).rstrip() + '\n'


def write_between_marks(path: Path, text: str) -> None:
    """Replace the measured part of a document.

    Raises:
        ValueError: If the document does not have one pair of marks.
    """
    document = path.read_text('utf-8')
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f'{path} needs one {BEGIN} and one {END} around the measured part')
    before, _, rest = document.partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f'{before}{BEGIN}\n{text}{END}{after}', 'utf-8')


def run(name: str, out: Path, *, python: str, select: Sequence[str], keep: bool) -> Outcome:
    """Install and test one stack."""
    folder = Folder(out / name, python)
    key = ' '.join([code(), recipe(STACKS[name], python), *select])
    saved = folder.path / 'outcome.json'
    if saved.is_file():
        earlier = Outcome(**json.loads(saved.read_text()))
        if earlier.key == key and earlier.counts is not None:
            print(f'{name}: already tested', flush=True)
            return earlier
    outcome = Outcome(name, key=key)
    try:
        prepare(folder, STACKS[name])
        describe(folder, outcome)
        read_results(test(folder, select), outcome)
    except StepError as error:
        outcome.stopped = str(error)
    saved.write_text(json.dumps(vars(outcome), indent=1))
    if not keep and outcome.counts is not None:
        (folder.path / 'recipe').unlink()
        shutil.rmtree(folder.path / 'venv')
    return outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Return 1 if a test failed or a stack could not be installed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out', type=Path, required=True, help='folder of environments, logs and results'
    )
    parser.add_argument(
        '--stacks',
        nargs='+',
        choices=[*STACKS],
        default=[*STACKS],
        help='stacks to test (default: all)',
    )
    parser.add_argument(
        '--select',
        nargs=argparse.REMAINDER,
        default=[],
        help='arguments of pytest, last on the line (default: all tests)',
    )
    parser.add_argument('--python', default=sys.executable, help='interpreter (default: this one)')
    parser.add_argument(
        '--keep', action='store_true', help='keep the environments, several gigabytes each'
    )
    parser.add_argument(
        '--report-only', action='store_true', help='run nothing; report earlier results'
    )
    parser.add_argument('--write', type=Path, help='document whose measured part to replace')
    args = parser.parse_args(argv)

    out = args.out.absolute()
    outcomes: list[Outcome] = []
    for name in args.stacks:
        saved = out / name / 'outcome.json'
        if not args.report_only:
            options: dict[str, Any] = dict(python=args.python, select=args.select, keep=args.keep)
            outcomes.append(run(name, out, **options))
        elif saved.is_file():
            outcomes.append(Outcome(**json.loads(saved.read_text())))
    text = table(outcomes)
    print(text)
    if args.write is not None:
        write_between_marks(args.write, f'{date.today().isoformat()}\n\n{text}')
    return int(any(o.counts is None or o.counts['failed'] for o in outcomes))


if __name__ == '__main__':
    sys.exit(main())
