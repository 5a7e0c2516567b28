"""Act on a module of another package as soon as it is imported, without importing it."""

from __future__ import annotations

import importlib.abc
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[], None]

_WAITING: dict[str, list[Action]] = {}


def after_import(name: str, action: Action) -> None:
    """Call ``action`` once the module ``name`` has been executed: now, or after its import.

    Args:
        name: Full name of the module. It need not exist.
        action: Should import nothing but the module, the standard library and what those two
            imported: it may run in the middle of another import. Actions of a module run in the
            order in which they were given; one that waits already is not added again.
    """
    if sys.modules.get(name) is not None:
        action()
        return
    actions = _WAITING.setdefault(name, [])
    if action not in actions:
        actions.append(action)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds a module as the other finders do, and lets its loader call the actions."""

    def __init__(self) -> None:
        # Names that a thread searches for now. Other finders may ask all finders, too.
        self.searched = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        names: set[str] = vars(self.searched).setdefault('names', set())
        if fullname not in _WAITING or fullname in names:
            return None
        names.add(fullname)
        try:
            spec = self._find_elsewhere(fullname, path, target)
        finally:
            names.remove(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec

    def _find_elsewhere(self, *wanted: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, 'find_spec', None)  # old finders have none
            if finder is not self and find is not None:
                spec: ModuleSpec | None = find(*wanted)
                if spec is not None:
                    return spec
        return None


class _Loader(importlib.abc.Loader):
    """Executes a module by its own loader, which it gives back to it, and calls the actions.

    A loader of its own for each module, as finders may return the same one for many.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self.loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        for action in _WAITING.pop(module.__spec__.name, ()):
            action()


_FINDER = _Finder()
