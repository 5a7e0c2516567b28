"""Import the scripts of benchmarks/ as modules."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script by name; unloads all scripts after the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = {path.stem for path in BENCHMARKS.glob('*.py')}
    yield importlib.import_module
    for name in names & set(sys.modules):
        del sys.modules[name]


@pytest.fixture
def record(script):
    """Return a function that makes a record, with defaults for most fields."""

    def make(arm, seed, mpc, *, keep_ratio=0.5, network='net', dense='a', loss=None):
        return script('records').Record(
            dense=dense, network=network, keep_ratio=keep_ratio, arm=arm, seed=seed,
            params=1_200_000 + 1000 * seed, macs=2e8, clean=80.0 + seed, p=80.0, mpc=mpc,
            severities=(50.0, 45.0, 40.0, 35.0, 30.0), loss=loss,
        )  # fmt: skip

    return make
