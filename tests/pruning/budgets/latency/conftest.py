"""The known times as a fixture."""

from __future__ import annotations

import pytest

from ....helpers.known_times import install


@pytest.fixture
def known_times(monkeypatch):
    return install(monkeypatch.setattr)
