"""Act on a module of another package as soon as it is imported, without importing it."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

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

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _WAITING:
            return None
        found = (f.find_spec(fullname, path, target) for f in sys.meta_path if f is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_call(module: ModuleType) -> None:
            execute(module)
            for action in _WAITING.pop(fullname, ()):
                action()

        spec.loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec


_FINDER = _Finder()
