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


@pytest.fixture
def record(script):
    """Makes a result of which only what a test looks at has to be given."""

    def make(arm, seed, mpc, *, keep=0.5, network='net', dense='a', loss=None):
        return script('records').Record(
            dense=dense, network=network, keep=keep, arm=arm, seed=seed,
            params=1_200_000 + 1000 * seed, macs=2e8, clean=80.0 + seed, p=80.0, mpc=mpc,
            severities=(50.0, 45.0, 40.0, 35.0, 30.0), loss=loss,
        )  # fmt: skip

    return make
