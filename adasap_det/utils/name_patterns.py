"""Patterns in the place of dotted names of layers and parameters."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern (``fnmatch``) names ``name`` or a module around it."""
    return any(fnmatch(name, p) or fnmatch(name, f'{p}.*') for p in patterns)
