"""Names of a package that are imported when they are used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: Its ``__name__``.
        exports: Module below the package by name: ``'.pruning'`` for one that has this name, and
            ``'.'`` for a module that is the name itself.
    """

    def get(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        if exports[name] == '.':
            return import_module(f'{package}.{name}')
        return getattr(import_module(f'{package}{exports[name]}'), name)

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *exports})

    return get, names
