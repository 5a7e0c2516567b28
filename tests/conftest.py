"""Shared fixtures; imports the package, with MMCV's operators, before MMDetection."""

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
    """Exclude all imported objects from garbage collection.

    MMEngine collects garbage whenever it builds a data set, which would take longer than a test.
    """
    gc.collect()
    gc.freeze()


class NamesOfFailures:
    """Prints the name of each test that fails when it does, not only at the end."""

    def __init__(self, reporter: Any) -> None:
        self.reporter = reporter

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.reporter.ensure_newline()
            self.reporter.write_line(f'{report.when} failed: {report.nodeid}', red=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Show the names of failures; the processes of pytest-xdist have no terminal."""
    reporter = session.config.pluginmanager.get_plugin('terminalreporter')
    if reporter is not None:
        session.config.pluginmanager.register(NamesOfFailures(reporter))


@pytest.fixture(autouse=True)
def no_names_of_earlier_runs(monkeypatch) -> None:
    """Keep a run from reusing the log and the default scope of an earlier one.

    MMEngine names a run by its config and start time in seconds; a second run of that name gets
    the logger, message hub, visualizer and default scope of the first. Tests are faster than that.
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
    """Server that runs programs without slow imports, started on first use."""
    with serving() as forks:
        yield forks
