"""Every test sees the package registered, and MMCV's operators in place, before MMDetection."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from . import plain_configs  # noqa: F401  before MMEngine

# isort: split
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

import adasap_det  # noqa: F401

from .forks import Forks, serving


def pytest_collection_finish(session: pytest.Session) -> None:
    """Takes all that is imported by now out of the garbage collector's sight.

    MMEngine collects garbage whenever it builds a data set, which takes longer than a test's own.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_runs_of_earlier_tests() -> None:
    """No test writes into the log of an earlier one.

    MMEngine names a run by its config and the second in which it starts, and gives a second run of
    a name the logger, message hub and visualizer of the first, their folder included. Tests are
    quicker than that.
    """
    for managed in (MMLogger, MessageHub, *_with_subclasses(Visualizer)):
        managed._instance_dict.clear()


def _with_subclasses(managed: type) -> Iterator[type]:
    yield managed
    for subclass in managed.__subclasses__():
        yield from _with_subclasses(subclass)


@pytest.fixture(scope='session')
def forks() -> Iterator[Forks]:
    """Runs programs without their slow imports; started by the first test that asks."""
    with serving() as forks:
        yield forks
