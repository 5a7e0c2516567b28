"""Every test sees the package registered, and MMCV's operators in place, before MMDetection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

# isort: split
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin

import adasap_det  # noqa: F401

from .helpers.forks import Forks, serving


def pytest_collection_finish(session: pytest.Session) -> None:
    """Takes all that is imported by now out of the garbage collector's sight.

    MMEngine collects garbage whenever it builds a data set, which takes longer than a test's own.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_names_of_earlier_runs(monkeypatch) -> None:
    """No run writes into the log of an earlier one, or takes over its default scope.

    MMEngine names a run by its config and the second in which it starts, and gives a second run of
    a name the logger, message hub, visualizer and default scope of the first. Tests are quicker
    than that.
    """
    set_up = Runner.setup_env

    def setup_env(runner: Runner, *args: Any, **kwargs: Any) -> None:
        for managed in _with_subclasses(ManagerMixin):
            managed._instance_dict.clear()
        set_up(runner, *args, **kwargs)

    monkeypatch.setattr(Runner, 'setup_env', setup_env)


def _with_subclasses(managed: type) -> Iterator[type]:
    yield managed
    for subclass in managed.__subclasses__():
        yield from _with_subclasses(subclass)


@pytest.fixture(scope='session')
def forks() -> Iterator[Forks]:
    """Runs programs without their slow imports; started by the first test that asks."""
    with serving() as forks:
        yield forks
