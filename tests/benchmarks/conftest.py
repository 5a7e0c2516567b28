"""Scripts of benchmarks/ as modules."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def script(monkeypatch):
    """Imports a script by name, with what it shares with the others, for one test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = {path.stem for path in BENCHMARKS.glob('*.py')}
    yield importlib.import_module
    for name in names & set(sys.modules):
        del sys.modules[name]
