"""Match dotted names of layers and parameters with patterns."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a pattern (``fnmatch``) matches ``name`` or a module that contains it."""
    return any(fnmatch(name, p) or fnmatch(name, f'{p}.*') for p in patterns)
