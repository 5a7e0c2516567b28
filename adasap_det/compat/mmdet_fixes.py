"""Bugs of MMDetection that stand in the way, fixed where they are present."""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_SSD_HEAD = 'mmdet.models.dense_heads.ssd_head'


def apply_mmdet_fixes() -> None:
    """Fix MMDetection's modules, those not imported yet at the moment they are.

    Importing all of MMDetection's models takes seconds, which a user of one function of this
    package should not pay.
    """
    _after_import(_SSD_HEAD, _let_ssd_head_predict)


def _let_ssd_head_predict(module: ModuleType) -> None:
    """Give every ``SSDHead`` a ``loss_cls``.

    ``BaseDenseHead`` reads ``self.loss_cls`` to predict (MMDetection 3.3.0, onedl 3.5.1), and
    ``SSDHead``, which computes its loss by itself, has none: predictions end in AttributeError.
    """
    head = module.SSDHead
    init = head.__init__
    if getattr(init, '_adasap_det', False):
        return

    @functools.wraps(init)
    def with_loss_cls(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        # On the instance: on the class it would hide a loss module that a subclass sets.
        if not hasattr(self, 'loss_cls'):
            self.loss_cls = None

    with_loss_cls._adasap_det = True  # type: ignore[attr-defined]
    head.__init__ = with_loss_cls


def _after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Call ``action`` with the module ``name``: now if it is imported, else once it will be."""
    if name in sys.modules:
        action(sys.modules[name])
    elif not any(isinstance(f, _Watcher) and f.name == name for f in sys.meta_path):
        sys.meta_path.insert(0, _Watcher(name, action))


class _Watcher(importlib.abc.MetaPathFinder):
    """Finds one module as Python would and acts on it after it has run."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_act(module: ModuleType) -> None:
            run(module)
            self.action(module)

        spec.loader.exec_module = run_and_act  # type: ignore[method-assign]
        return spec
