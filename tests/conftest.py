"""Every test sees the package registered, and MMCV's operators in place, before MMDetection."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from . import plain_configs  # noqa: F401  before MMEngine

# isort: split
import adasap_det  # noqa: F401

from .forks import Forks, serving


def pytest_collection_finish(session: pytest.Session) -> None:
    """Takes all that is imported by now out of the garbage collector's sight.

    MMEngine collects garbage whenever it builds a data set, which takes longer than a test's own.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session')
def forks() -> Iterator[Forks]:
    """Runs programs without their slow imports; started by the first test that asks."""
    with serving() as forks:
        yield forks
