"""Every test sees the package registered, and MMCV's operators in place, before MMDetection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import plain_configs  # noqa: F401  before MMEngine

# isort: split
import adasap_det  # noqa: F401

from .forks import Forks, serving


@pytest.fixture(scope='session')
def forks() -> Iterator[Forks]:
    """Runs programs without their slow imports; started by the first test that asks."""
    with serving() as forks:
        yield forks
